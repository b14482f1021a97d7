//! `device watch`: prints an event each time a hardware key is plugged in or removed.

use crate::call::Call;
use crate::context::Context;
use crate::events::Blocks;
use crate::failure::Failure;
use crate::output::visible;
use mfad_api::DeviceEvent;

pub(crate) async fn run(context: &mut Context) -> Result<(), Failure> {
    let mut stream = context.client.open(Call::get("/v1/devices/events")).await?;
    let mut blocks = Blocks::default();
    while let Some(bytes) = stream.next().await? {
        for data in blocks.take(&bytes)? {
            if context.out.is_json() {
                context.out.document(&data)?;
            } else {
                context.out.line(&visible(&line(&read_event(&data)?)))?;
            }
        }
    }
    Err(Failure::Unreachable("the daemon closed the event stream".to_owned()))
}

/// Parses the data of an event.
pub(crate) fn read_event(data: &str) -> Result<DeviceEvent, Failure> {
    serde_json::from_str(data)
        .map_err(|error| Failure::Internal(format!("invalid hardware key event from the daemon: {error}")))
}

fn line(event: &DeviceEvent) -> String {
    let named = [("key", event.key.clone()), ("state", event.state.clone()), ("reader", Some(event.reader.clone()))];
    let mut words = vec![event.time.clone(), event.event.clone()];
    words.extend(named.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?))));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let attached =
            r#"{"seq":1,"event":"attached","time":"T","reader":"Yubico 00 00","key":"7","serial":7,"state":"new"}"#;
        let removed =
            r#"{"seq":2,"event":"removed","time":"T","reader":"Yubico 00 00","key":null,"serial":null,"state":null}"#;

        assert_eq!(line(&read_event(attached).unwrap()), "T attached key=7 state=new reader=Yubico 00 00");
        assert_eq!(line(&read_event(removed).unwrap()), "T removed reader=Yubico 00 00");
    }
}
