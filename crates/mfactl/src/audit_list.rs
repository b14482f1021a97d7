//! `audit tail`: the newest events that pass the filters, and new ones as they arrive.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use nix::unistd::{Uid, User as Account};
use serde_json::{Value, json};

use crate::acting::uid_of;
use crate::audit_args::TailArgs;
use crate::call::{Call, segment};
use crate::client::Answer;
use crate::context::Context;
use crate::events::Blocks;
use crate::failure::Failure;
use mfad_api::{AuditPage, AuditRecord, User};

/// Events that are shown unless a flag says otherwise.
const LINES: u32 = 10;
/// Rows per request; the daemon returns at most 500.
pub(crate) const PAGE: i64 = 500;

const HEADS: [&str; 9] = ["SEQ", "TIME", "EVENT", "OUTCOME", "USER", "BY", "SECRET", "PID", "DETAIL"];
/// Columns that a terminal of 80 columns has no room for.
const WIDE: [&str; 3] = ["SEQ", "SECRET", "PID"];
/// Widths of the columns with `--follow`: an event is printed at once, so they cannot be fitted to later events.
const FOLLOWED: [usize; 9] = [7, 17, 17, 7, 12, 8, 36, 7, 0];

/// The conditions of the flags. An event is shown if it meets all of them.
struct Filter {
    user: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    event: Option<String>,
    outcome: Option<String>,
}

/// An event, and its document as the daemon sent it.
struct Event {
    record: AuditRecord,
    document: Value,
}

/// Names of the users and accounts in the events, each asked for once.
#[derive(Default)]
struct Names {
    users: BTreeMap<String, String>,
    accounts: BTreeMap<u32, String>,
}

pub(crate) async fn run(context: &mut Context, args: &TailArgs) -> Result<(), Failure> {
    let filter = Filter::of(context, args).await?;
    let newest = newest(context).await?;
    let most = args.lines.unwrap_or(if args.since.is_some() { u32::MAX } else { LINES });
    let events = gather(context, &filter, newest, most).await?;
    let mut names = Names::default();
    if context.out.is_json() {
        let documents: Vec<Value> = events.into_iter().map(|event| event.document).collect();
        if args.follow {
            documents.iter().try_for_each(|event| context.out.document(&event.to_string()))?;
        } else {
            context.out.document(&json!({"events": documents, "next": null}).to_string())?;
        }
    } else {
        let mut rows = Vec::with_capacity(events.len());
        for event in &events {
            rows.push(row(context, &mut names, &event.record).await?);
        }
        if args.follow {
            // In the columns of the events that follow.
            context.out.heads(HEADS, &WIDE, &FOLLOWED)?;
            rows.into_iter().try_for_each(|row| context.out.row(HEADS, &WIDE, &FOLLOWED, row))?;
        } else {
            context.out.table(HEADS, &WIDE, rows)?;
        }
    }
    if args.follow { follow_after(context, &filter, &mut names, newest).await } else { Ok(()) }
}

impl Filter {
    async fn of(context: &mut Context, args: &TailArgs) -> Result<Self, Failure> {
        let user = match &args.user {
            Some(user) if user == "me" => {
                return Err(Failure::Usage("give the name or uid of the user instead of `me`".to_owned()));
            }
            Some(user) => Some(uid_of(context, user).await?.to_ascii_lowercase()),
            None => None,
        };
        Ok(Self {
            user,
            since: args.since,
            until: args.until,
            event: args.event.clone(),
            outcome: args.outcome.clone(),
        })
    }

    fn admits(&self, event: &AuditRecord) -> bool {
        let time: Option<Timestamp> = event.time.parse().ok();
        self.user.as_ref().is_none_or(|user| event.subject.as_ref() == Some(user))
            && self.outcome.as_ref().is_none_or(|outcome| event.outcome == *outcome)
            && self.event.as_ref().is_none_or(|wanted| is_of(&event.event, wanted))
            && self.since.is_none_or(|since| time.is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| time.is_some_and(|time| time < until))
    }

    /// Whether all events of this page are older than `since`. One old time is not enough: a clock may have been set back.
    fn is_past(&self, events: &[AuditRecord]) -> bool {
        let is_old = |event: &AuditRecord| event.time.parse::<Timestamp>().is_ok_and(|time| Some(time) < self.since);
        !events.is_empty() && events.iter().all(is_old)
    }
}

/// Whether an event has this name, or is of this area: `login` admits `login.factor`.
fn is_of(event: &str, wanted: &str) -> bool {
    event == wanted || event.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
}

/// The newest events that the filter admits, at most `most`, the oldest first.
async fn gather(context: &mut Context, filter: &Filter, newest: i64, most: u32) -> Result<Vec<Event>, Failure> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut found = VecDeque::new();
    let mut end = newest;
    while end > 0 && found.len() < most {
        let after = end.saturating_sub(PAGE).max(0);
        let answer = page(context, after, end.saturating_sub(after)).await?;
        let page: AuditPage = answer.read()?;
        for (record, document) in page.events.iter().zip(raw_events(&answer)?).rev() {
            if found.len() < most && record.seq <= newest && filter.admits(record) {
                found.push_front(Event { record: record.clone(), document });
            }
        }
        if filter.is_past(&page.events) {
            break;
        }
        end = after;
    }
    Ok(found.into())
}

async fn follow_after(context: &mut Context, filter: &Filter, names: &mut Names, after: i64) -> Result<(), Failure> {
    let mut stream = context.client.open(Call::get(format!("/v1/audit/events?after={after}"))).await?;
    let mut blocks = Blocks::default();
    while let Some(bytes) = stream.next().await? {
        for data in blocks.take(&bytes)? {
            let event: AuditRecord = serde_json::from_str(&data)
                .map_err(|error| Failure::Internal(format!("an audit event is not understood: {error}")))?;
            if !filter.admits(&event) {
                continue;
            }
            if context.out.is_json() {
                context.out.document(&data)?;
            } else {
                let row = row(context, names, &event).await?;
                context.out.row(HEADS, &WIDE, &FOLLOWED, row)?;
            }
        }
    }
    Err(Failure::Unreachable("the daemon ended the stream".to_owned()))
}

async fn row(context: &mut Context, names: &mut Names, event: &AuditRecord) -> Result<[String; 9], Failure> {
    let user = match &event.subject {
        Some(uid) => {
            let name = names.user(context, uid).await?;
            // A table has no room for a whole uid.
            if name == *uid && context.out.is_short() { format!("{}…", uid.get(..8).unwrap_or(uid)) } else { name }
        }
        None => "-".to_owned(),
    };
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    Ok([
        event.seq.to_string(),
        context.out.time(event.time.clone()),
        event.event.clone(),
        event.outcome.clone(),
        user,
        or_none(event.peer_uid.map(|uid| names.account(uid))),
        or_none(event.object.clone()),
        or_none(event.peer_pid.map(|pid| pid.to_string())),
        or_none(event.detail.clone()),
    ])
}

impl Names {
    /// The name of a user. A user who was deleted, or whom this account may not see, is shown by uid.
    async fn user(&mut self, context: &mut Context, uid: &str) -> Result<String, Failure> {
        if let Some(name) = self.users.get(uid) {
            return Ok(name.clone());
        }
        let answer = context.client.send(Call::get(format!("/v1/users/{}", segment(uid)))).await?;
        let name = if answer.status == 200 { answer.read::<User>()?.name } else { uid.to_owned() };
        self.users.insert(uid.to_owned(), name.clone());
        Ok(name)
    }

    /// The name of an account of this host.
    fn account(&mut self, uid: u32) -> String {
        let look = || Account::from_uid(Uid::from_raw(uid)).ok().flatten().map(|account| account.name);
        self.accounts.entry(uid).or_insert_with(|| look().unwrap_or_else(|| uid.to_string())).clone()
    }
}

/// Returns the number of the newest row; 0 if there is none. The API reads the log from its old end only, and numbers
/// have no gaps. So the end is found by doubling and bisection instead of reading the whole log.
pub(crate) async fn newest(context: &mut Context) -> Result<i64, Failure> {
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

/// Asks for at most `limit` rows after the row of this number.
pub(crate) async fn page(context: &mut Context, after: i64, limit: i64) -> Result<Answer, Failure> {
    context.client.ask(Call::get(format!("/v1/audit?after={after}&limit={limit}"))).await
}

fn raw_events(answer: &Answer) -> Result<Vec<Value>, Failure> {
    let mut page: Value = answer.read()?;
    Ok(page.get_mut("events").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(members: Value) -> AuditRecord {
        let mut whole = json!({"seq": 1, "time": "2026-01-05T09:30:00.125Z", "event": "login.factor", "outcome": "ok",
            "subject": "u1", "prev": "", "hash": ""});
        for (name, value) in members.as_object().unwrap() {
            whole[name] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    fn any() -> Filter {
        Filter { user: None, since: None, until: None, event: None, outcome: None }
    }

    #[test]
    fn an_event_meets_every_condition() {
        let found = event(json!({}));

        assert!(any().admits(&found));
        assert!(Filter { user: Some("u1".to_owned()), outcome: Some("ok".to_owned()), ..any() }.admits(&found));
        assert!(!Filter { user: Some("u1".to_owned()), outcome: Some("refused".to_owned()), ..any() }.admits(&found));
        assert!(!Filter { user: Some("u2".to_owned()), ..any() }.admits(&found));
        assert!(!Filter { user: Some("u2".to_owned()), ..any() }.admits(&event(json!({"subject": null}))));
    }

    #[test]
    fn since_belongs_to_the_time_and_until_does_not() {
        let at = |text: &str| Some(text.parse().unwrap());
        let found = event(json!({"time": "2026-01-05T09:30:00Z"}));

        assert!(Filter { since: at("2026-01-05T09:30:00Z"), ..any() }.admits(&found));
        assert!(!Filter { since: at("2026-01-05T09:30:01Z"), ..any() }.admits(&found));
        assert!(!Filter { until: at("2026-01-05T09:30:00Z"), ..any() }.admits(&found));
        assert!(Filter { until: at("2026-01-05T09:30:01Z"), ..any() }.admits(&found));
    }

    #[test]
    fn an_area_admits_its_events() {
        for wanted in ["login", "login.factor"] {
            assert!(is_of("login.factor", wanted), "{wanted}");
        }
        for wanted in ["log", "login.", "login.password", "*", "factor"] {
            assert!(!is_of("login.factor", wanted), "{wanted}");
        }
    }

    #[test]
    fn the_search_ends_only_where_all_events_are_too_old() {
        let filter = Filter { since: Some("2026-01-05T00:00:00Z".parse().unwrap()), ..any() };
        let (old, new) = (event(json!({"time": "2026-01-04T00:00:00Z"})), event(json!({})));

        assert!(filter.is_past(std::slice::from_ref(&old)));
        assert!(!filter.is_past(&[old, new]));
        assert!(!filter.is_past(&[]));
        assert!(!any().is_past(&[event(json!({}))]));
    }
}
