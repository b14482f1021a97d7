//! `audit tail` and `audit verify`.

use serde_json::json;

use crate::call::Call;
use crate::chain::{Break, Chain};
use crate::cli::AuditCommand;
use crate::client::Answer;
use crate::context::Context;
use crate::events::Blocks;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Tone, visible};
use mfad_api::{AuditPage, AuditRecord};

/// Rows per request; the daemon returns at most 500.
const PAGE: u32 = 500;

pub(crate) async fn run(context: &mut Context, command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Tail { lines, follow } => tail(context, *lines, *follow).await,
        AuditCommand::Verify => verify(context).await,
    }
}

async fn tail(context: &mut Context, lines: u32, follow: bool) -> Result<(), Failure> {
    let newest = newest(context).await?;
    let mut after = newest.saturating_sub(i64::from(lines)).max(0);
    let mut documents = Vec::new();
    while after < newest {
        let answer = page(context, after, PAGE).await?;
        let events: AuditPage = answer.read()?;
        let Some(last) = events.events.last().map(|event| event.seq) else { break };
        let shown = events.events.iter().take_while(|event| event.seq <= newest).count();
        if context.out.is_json() {
            documents.extend(raw_events(&answer)?.into_iter().take(shown));
        } else {
            events.events.iter().take(shown).try_for_each(|event| context.out.line(&line(context.out, event)))?;
        }
        after = last.min(newest);
    }
    match (context.out.is_json(), follow) {
        (true, true) => documents.iter().try_for_each(|event| context.out.document(&event.to_string()))?,
        (true, false) => context.out.document(&json!({"events": documents, "next": null}).to_string())?,
        (false, _) => {}
    }
    if follow { follow_after(context, newest).await } else { Ok(()) }
}

async fn follow_after(context: &mut Context, after: i64) -> Result<(), Failure> {
    let mut stream = context.client.open(Call::get(format!("/v1/audit/events?after={after}"))).await?;
    let mut blocks = Blocks::default();
    while let Some(bytes) = stream.next().await? {
        for data in blocks.take(&bytes)? {
            if context.out.is_json() {
                context.out.document(&data)?;
                continue;
            }
            let event: AuditRecord = serde_json::from_str(&data)
                .map_err(|error| Failure::Internal(format!("an audit event is not understood: {error}")))?;
            context.out.line(&line(context.out, &event))?;
        }
    }
    Err(Failure::Unreachable("the daemon ended the stream".to_owned()))
}

/// Returns the number of the newest row; 0 if there is none. The API reads the log from its old end only, and numbers
/// have no gaps. So the end is found by doubling and bisection instead of reading the whole log.
async fn newest(context: &mut Context) -> Result<i64, Failure> {
    let (mut low, mut high) = (0_i64, 1_i64);
    while has_rows_after(context, high.saturating_sub(1)).await? {
        low = high;
        high = high.saturating_mul(2);
    }
    // INVARIANT: row `low` exists (or is 0), and row `high` does not.
    while high.saturating_sub(low) > 1 {
        let middle = low.midpoint(high);
        if has_rows_after(context, middle.saturating_sub(1)).await? { low = middle } else { high = middle }
    }
    Ok(low)
}

async fn has_rows_after(context: &mut Context, after: i64) -> Result<bool, Failure> {
    let page: AuditPage = page(context, after, 1).await?.read()?;
    Ok(!page.events.is_empty())
}

async fn page(context: &mut Context, after: i64, limit: u32) -> Result<Answer, Failure> {
    context.client.ask(Call::get(format!("/v1/audit?after={after}&limit={limit}"))).await
}

fn raw_events(answer: &Answer) -> Result<Vec<serde_json::Value>, Failure> {
    let mut page: serde_json::Value = answer.read()?;
    Ok(page.get_mut("events").and_then(serde_json::Value::as_array_mut).map(std::mem::take).unwrap_or_default())
}

fn line(out: Output, event: &AuditRecord) -> String {
    let tone = if event.outcome == "ok" { Tone::Good } else { Tone::Bad };
    let mut words = vec![
        event.seq.to_string(),
        visible(&event.time),
        out.tone(&visible(&event.outcome), tone),
        visible(&event.event),
    ];
    let named = [
        ("user", event.subject.clone()),
        ("secret", event.object.clone()),
        ("peer", event.peer_uid.map(|uid| uid.to_string())),
        ("pid", event.peer_pid.map(|pid| pid.to_string())),
        ("detail", event.detail.clone()),
    ];
    words.extend(named.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", visible(&value?)))));
    words.join(" ")
}

async fn verify(context: &mut Context) -> Result<(), Failure> {
    let mut chain = Chain::start();
    loop {
        let page: AuditPage = page(context, chain.seq, PAGE).await?.read()?;
        if page.events.is_empty() {
            return whole(context.out, &chain);
        }
        for event in &page.events {
            if let Err(found) = chain.follow(event) {
                return broken(context.out, &chain, &found);
            }
        }
    }
}

fn whole(out: Output, chain: &Chain) -> Result<(), Failure> {
    if out.is_json() {
        return out.document(&json!({"ok": true, "events": chain.seq, "hash": chain.hash}).to_string());
    }
    out.note(&format!("the chain of {} events is whole; newest hash {}", chain.seq, chain.hash))
}

fn broken(out: Output, chain: &Chain, found: &Break) -> Result<(), Failure> {
    if out.is_json() {
        out.document(
            &json!({"ok": false, "events": chain.seq, "brokenAt": found.seq, "reason": found.reason}).to_string(),
        )?;
        return Err(Failure::Reported(Exit::Denied));
    }
    Err(Failure::Denied(format!("the chain breaks at event {}: {}", found.seq, found.reason)))
}
