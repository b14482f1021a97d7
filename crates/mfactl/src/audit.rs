//! `audit`: the choice of its commands, and `audit verify`.

use serde_json::json;

use crate::audit_args::AuditCommand;
use crate::audit_list::{self, PAGE, page};
use crate::chain::{Break, Chain};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use mfad_api::AuditPage;

pub(crate) async fn run(context: &mut Context, command: &AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Tail(args) => audit_list::run(context, args).await,
        AuditCommand::Verify => verify(context).await,
    }
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
