//! News of the keys that come and go: the daemon's stream, opened again whenever it breaks off, and a look at
//! all keys after each opening.

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

/// The first pause before the stream is opened again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How soon keys that did not tell their number are asked again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Longer than a stream may be silent.
const LONG: Duration = Duration::from_secs(600);
/// News on their way.
const AHEAD: usize = 64;

/// What happened.
pub enum News {
    /// All that is there: readers, and the numbers of the keys that tell them.
    All(Vec<(String, Option<u64>)>),
    /// A key came or went.
    Event(DeviceEvent),
    /// The daemon is away, or cannot tell. It is asked again.
    Lost(Failure),
    /// The daemon will not tell.
    Refused(Failure),
}

/// Starts asking; ends when nobody listens any more.
pub fn start(client: Client) -> mpsc::Receiver<News> {
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

/// Follows one stream to its end. Comes back without a failure only when nobody listens.
async fn follow(client: &Client, news: &mpsc::Sender<News>, pause: &mut Duration) -> Result<(), Failure> {
    let (mut streams, mut looks) = (client.another(), client.another());
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
            return Err(Failure::Unreachable("the daemon ended the stream of keys".to_owned()));
        };
        for data in blocks.take(&bytes)? {
            let event = read_event(&data)?;
            is_whole = is_whole && event.serial.is_some();
            if news.send(News::Event(event)).await.is_err() {
                return Ok(());
            }
        }
        if news.is_closed() {
            return Ok(());
        }
    }
}

/// Tells all that is there. Whether all keys told their number.
async fn look(client: &mut Client, news: &mpsc::Sender<News>) -> Result<bool, Failure> {
    let list: DeviceList = client.ask(Call::get("/v1/devices")).await?.read()?;
    let all: Vec<(String, Option<u64>)> =
        list.devices.into_iter().map(|device| (device.reader, device.serial)).collect();
    let is_whole = all.iter().all(|(_, serial)| serial.is_some());
    // Nobody listening shows at the next event.
    let _unheard = news.send(News::All(all)).await;
    Ok(is_whole)
}
