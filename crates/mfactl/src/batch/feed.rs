//! Reports hardware keys that are plugged in and removed: reads the daemon's event stream, reconnects when it ends, and
//! lists all keys after each connect. It must not know what the batch does with them.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::verdict::Verdict;
use crate::call::Call;
use crate::client::Client;
use crate::device::watch::read_event;
use crate::events::Blocks;
use crate::failure::Failure;
use mfad_api::{DeviceEvent, DeviceList};
use mfad_core::model::KeyId;

/// First delay before a reconnect; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest delay before a reconnect.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Interval at which the keys are listed while one of them has not told its id.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Otherwise. The client gives up on a silent stream earlier, so this interval never elapses.
const LONG: Duration = Duration::from_secs(600);
/// Capacity of the channel, in messages.
const AHEAD: usize = 64;

/// Message to the batch.
pub(super) enum News {
    /// All attached keys: the reader of each, and its id if it has one.
    All(Vec<(String, Option<KeyId>)>),
    /// A key was plugged in or removed.
    Event(DeviceEvent),
    /// The daemon cannot be reached or cannot read the keys. A reconnect follows.
    Lost(Failure),
    /// The daemon refuses to report keys. No message follows.
    Refused(Failure),
}

/// Starts a task that sends messages until the receiver is dropped.
pub(super) fn start(client: Client) -> mpsc::Receiver<News> {
    let (news, heard) = mpsc::channel(AHEAD);
    tokio::spawn(feed(client, news));
    heard
}

async fn feed(client: Client, news: mpsc::Sender<News>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(failure) = follow(&client, &news, &mut pause).await else { return };
        let is_passing = Verdict::of(&failure) == Verdict::Again;
        let told = news.send(if is_passing { News::Lost(failure) } else { News::Refused(failure) }).await;
        if told.is_err() || !is_passing {
            return;
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Follows one event stream. Returns `Ok` only when the receiver was dropped.
async fn follow(client: &Client, news: &mpsc::Sender<News>, pause: &mut Duration) -> Result<(), Failure> {
    let (mut streams, mut looks) = (client.another(), client.another());
    // The stream is opened before the list is fetched, so that no event between the two is lost.
    let mut stream = streams.open(Call::get("/v1/devices/events")).await?;
    let mut blocks = Blocks::default();
    let mut is_whole = look(&mut looks, news).await?;
    *pause = FIRST_PAUSE;
    loop {
        let Ok(piece) = timeout(if is_whole { LONG } else { LOOK_AGAIN }, stream.next()).await else {
            is_whole = look(&mut looks, news).await?;
            continue;
        };
        let Some(bytes) = piece? else {
            return Err(Failure::Unreachable("the daemon closed the event stream".to_owned()));
        };
        for data in blocks.take(&bytes)? {
            let event = read_event(&data)?;
            is_whole = is_whole && event.key.is_some();
            if news.send(News::Event(event)).await.is_err() {
                return Ok(());
            }
        }
        if news.is_closed() {
            return Ok(());
        }
    }
}

/// Sends the list of all attached keys. Returns whether all of them have told their ids.
async fn look(client: &mut Client, news: &mpsc::Sender<News>) -> Result<bool, Failure> {
    let list: DeviceList = client.ask(Call::get("/v1/devices")).await?.read()?;
    let all: Vec<(String, Option<KeyId>)> =
        list.devices.into_iter().map(|device| (device.reader, device.key.as_deref().and_then(KeyId::parse))).collect();
    let is_whole = all.iter().all(|(_, key)| key.is_some());
    // A dropped receiver is noticed at the next event.
    let _unheard = news.send(News::All(all)).await;
    Ok(is_whole)
}
