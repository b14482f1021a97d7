//! `provision batch`: programs one hardware key after the other for the users of a manifest. A batch can be stopped at
//! any moment and resumed: the results file says which users are done, and the daemon knows what has no result yet.

mod feed;
mod folders;
mod keys;
mod manifest;
mod progress;
mod queue;
mod remaining;
mod results;
mod row;
mod runner;
mod verdict;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::folders::Folders;
use self::keys::Keys;
use self::manifest::Row;
use self::progress::Progress;
use self::queue::{Open, Queue};
use self::remaining::{Labels, ProvisionedKey, Remaining, other_sides};
use self::results::ResultsFile;
use self::row::{Plan, TAKEN, look};
use self::runner::{BatchRunner, Tally};
use mfad_api::SecretList;

use crate::acting::{self, uids_of};
use crate::call::{Authority, Call};
use crate::context::Context;
use crate::device_args::{BatchArgs, ProvisionCommand};
use crate::failure::{Exit, Failure};

pub(crate) async fn run(context: &mut Context, command: &ProvisionCommand) -> Result<(), Failure> {
    let ProvisionCommand::Batch(args) = command;
    let rows = manifest::read(&args.manifest)?;
    let results = args.results.clone().unwrap_or_else(|| args.manifest.with_extension("results.csv"));
    let results = ResultsFile::open(&results)?;
    let total = rows.len();
    let open: Vec<Row> = rows.into_iter().filter(|row| !is_done(&results, row, args)).collect();
    let skipped = total.saturating_sub(open.len());
    let mut runner = runner(context, args, results, open.len())?;
    let worked = batch(context, &mut runner, open).await;
    if runner.tally.codes_lost > 0 {
        runner.progress.say(&format!(
            "the backup codes of {} users were not saved (--codes DIR saves them); mfactl codes renew creates new ones",
            runner.tally.codes_lost
        ));
    }
    runner.progress.end(&summary(&runner.tally, skipped, runner.queue.len()))?;
    worked?;
    if runner.tally.failed == 0 && runner.queue.is_empty() { Ok(()) } else { Err(Failure::Reported(Exit::Denied)) }
}

fn is_done(results: &ResultsFile, row: &Row, args: &BatchArgs) -> bool {
    Labels::of(&row.label, args.spare, args.fido2).all().all(|label| results.has(&row.user, &label))
}

fn runner(context: &Context, args: &BatchArgs, results: ResultsFile, rows: usize) -> Result<BatchRunner, Failure> {
    let plan = Plan {
        authority: Authority::with_reason(args.reason.clone()),
        profile: args.profile.clone(),
        pending: args.pending,
        spare: args.spare,
        protect: args.protect,
        fido2: args.fido2.then_some(args.setup),
        pins: args.pins.clone(),
    };
    let mut keys = Keys::default();
    results.used().for_each(|(key, user)| keys.used_before(key, user));
    Ok(BatchRunner {
        client: context.client.another(),
        plan: Arc::new(plan),
        results,
        keys,
        queue: Queue::default(),
        folders: Folders::make(args)?,
        progress: Progress::new(context.out, rows.saturating_mul(if args.spare { 2 } else { 1 })),
        tally: Tally::default(),
        no_wait: args.no_wait,
    })
}

async fn batch(context: &mut Context, runner: &mut BatchRunner, rows: Vec<Row>) -> Result<(), Failure> {
    let names: Vec<&str> = rows.iter().map(|row| row.user.as_str()).collect();
    let uids = uids_of(context, &names).await?;
    for (row, uid) in rows.iter().zip(uids) {
        match uid {
            Ok(uid) => take_up(context, runner, row, uid).await?,
            Err(failure) => runner.failed(row, None, "not-found", &failure.to_string())?,
        }
    }
    if runner.queue.is_empty() {
        return Ok(());
    }
    let news = feed::start(context.client.another());
    runner.run(news).await
}

/// Queues a row, or completes it at once if the daemon already has its factors: an earlier run may have been killed
/// after it programmed a key and before it wrote the result.
async fn take_up(context: &mut Context, runner: &mut BatchRunner, row: &Row, uid: String) -> Result<(), Failure> {
    let labels = Labels::of(&row.label, runner.plan.spare, runner.plan.fido2.is_some());
    let left = match look(&mut context.client, &runner.plan, &uid, &labels, &[]).await {
        Ok(left) => left,
        Err(Failure::Refused(problem)) if problem.status == 404 => {
            return runner.failed(row, None, &problem.code, &problem.to_string());
        }
        Err(failure) => return Err(failure),
    };
    let mut open =
        Open { row: row.clone(), uid, first: None, held: BTreeSet::new(), bound: None, attempts: 0, refusals: 0 };
    match left {
        Remaining::Nothing(placed) => match missing_side(context, runner, &open.uid, &placed).await? {
            (sides, None) => return runner.done(row, &[placed, sides].concat()),
            // An earlier run ended between the two sides of this key.
            (_, Some(missing)) => {
                runner.keys.free(missing.key);
                (open.bound, open.attempts) = (Some(missing.key), 1);
            }
        },
        Remaining::Taken => return runner.failed(row, None, "secret-name-taken", TAKEN),
        Remaining::First => {}
        Remaining::Second { first, .. } => {
            runner.keys.use_for(first.key, &row.user);
            open.first = Some(first);
            open.attempts = 1;
        }
        Remaining::Finish(placed) => {
            open.held = [placed.key].into();
            open.attempts = 1;
        }
    }
    runner.queue.push(open);
    Ok(())
}

/// Returns the FIDO2 factors of a row, and the key that lacks its one; nothing without `--fido2`.
async fn missing_side(
    context: &mut Context,
    runner: &BatchRunner,
    uid: &str,
    placed: &[ProvisionedKey],
) -> Result<(Vec<ProvisionedKey>, Option<ProvisionedKey>), Failure> {
    if runner.plan.fido2.is_none() {
        return Ok((Vec::new(), None));
    }
    let call = Call::get(acting::path(uid, "/secrets")).by(&runner.plan.authority);
    let list: SecretList = context.client.ask(call).await?.read()?;
    Ok(other_sides(&list.secrets, placed))
}

fn summary(tally: &Tally, skipped: usize, left: usize) -> String {
    let left = if left > 0 { format!(", {left} left") } else { String::new() };
    format!("{} done, {} failed, {skipped} skipped{left}", tally.done, tally.failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_is_left_only_if_something_is() {
        let tally = Tally { done: 500, failed: 0, codes_lost: 0 };

        assert_eq!(summary(&tally, 3, 0), "500 done, 0 failed, 3 skipped");
        assert_eq!(summary(&tally, 3, 2), "500 done, 0 failed, 3 skipped, 2 left");
    }
}
