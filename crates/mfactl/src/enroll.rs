//! `enroll`: creates a secret of type `mfa`, shows it, activates it with its first code, and prints the backup codes.

use crate::acting::Acting;
use crate::call::{Body, Call, segment};
use crate::cli::{EnrollArgs, ProfileArgs};
use crate::client::Answer;
use crate::code::{Code, TOKEN, ask_for_touch, by_key};
use crate::context::Context;
use crate::failure::Failure;
use crate::interruption;
use crate::output::{Output, visible};
use crate::problem::Problem;
use crate::prompt::Source;
use crate::secret_text::Hidden;
use crate::secrets::{find, print_first_codes};
use mfad_api::{Diagnosis, NewFactor, Secret, SecretString};

/// Longest drift of a clock, in seconds. The daemon reports more only for a wrong time zone (`driftSeconds` in
/// docs/openapi.yaml).
const LONGEST_DRIFT: u64 = 1800;

pub(crate) async fn run(context: &mut Context, args: &EnrollArgs) -> Result<(), Failure> {
    // Refused before the secret is created: its first code could not be read.
    if context.prompter.no_input && !args.start && !args.device && args.code.source() == Source::Prompt {
        return Err(Failure::Usage("--no-input needs --start, --code-file or --code-stdin".to_owned()));
    }
    let acting = Acting::begin(context, &args.on.user, &args.on.acting).await?;
    let enrolled = enroll(context, &acting, args).await;
    acting.end(context).await;
    enrolled
}

async fn enroll(context: &mut Context, acting: &Acting, args: &EnrollArgs) -> Result<(), Failure> {
    let pending = match &args.finish {
        Some(secret) => find(context, acting, secret).await?,
        None => {
            let answer = create(context, acting, &args.profile).await?;
            let made: NewFactor = answer.read()?;
            if args.start && context.out.is_json() {
                return context.out.document(answer.text());
            }
            present(context.out, &made, args.start)?;
            if args.start {
                return context.out.note(&format!(
                    "finish with: mfactl enroll {} --finish {}",
                    visible(&args.on.user),
                    visible(&made.record.uid)
                ));
            }
            made.record
        }
    };
    let resume = format!(
        "the factor is still pending: mfactl enroll {} --finish {}",
        visible(&args.on.user),
        visible(&pending.uid)
    );
    interruption::say(Some(resume.clone()));
    let finished = finish_any(context, acting, args, &pending).await;
    interruption::say(None);
    let answer = finished.inspect_err(|failure| {
        if !failure.has_ended_factor() {
            context.out.aside(&resume);
        }
    })?;
    if context.out.is_json() {
        return context.out.document(answer.text());
    }
    context.out.note("the second factor is active; older sessions have ended")?;
    print_first_codes(context.out, &answer.read()?)
}

async fn finish_any(
    context: &mut Context,
    acting: &Acting,
    args: &EnrollArgs,
    pending: &Secret,
) -> Result<Answer, Failure> {
    if args.device {
        return finish_by_key(context, acting, pending).await;
    }
    finish(context, acting, pending, &args.code.source()).await
}

async fn create(context: &mut Context, acting: &Acting, profile: &ProfileArgs) -> Result<Answer, Failure> {
    let body = Body::new()
        .member("type", "mfa")
        .optional("name", profile.name.as_deref())
        .optional("algorithm", profile.algorithm.as_deref().map(str::to_ascii_uppercase))
        .optional("digits", profile.digits)
        .optional("period", profile.period)
        .optional("kind", profile.hotp.then_some("hotp"))
        .optional("issuer", profile.issuer.as_deref())
        .optional("accountName", profile.account.as_deref());
    context.client.ask(Call::post(acting.path("/secrets?qr=text")).by(&acting.authority).with(body)).await
}

/// Shows a new secret. Someone who is about to type its first code needs no more than the picture and the key.
fn present(out: Output, made: &NewFactor, is_for_later: bool) -> Result<(), Failure> {
    if is_for_later {
        let until = made.record.expires.clone().map(|time| format!(", pending until {}", out.time(time)));
        out.show(&visible(&format!("secret  {}{}", made.record.uid, until.unwrap_or_default())))?;
        out.show(&format!("url     {}", visible(made.secret.otpauth_url.as_str())))?;
    }
    let Some(qr) = &made.qr else { return out.show(&format!("key     {}", in_groups(&made.secret.secret).as_str())) };
    if !out.is_quiet() {
        out.show("scan this QR code with an authenticator app; it is shown only once")?;
    }
    out.picture(qr.as_str())?;
    out.show(&format!("cannot scan? type this key: {}", in_groups(&made.secret.secret).as_str()))
}

/// The key in groups of four symbols, for typing.
fn in_groups(key: &SecretString) -> Hidden {
    let mut groups = Hidden::new(String::with_capacity(key.as_str().len().saturating_mul(2)));
    for (place, symbol) in visible(key.as_str()).chars().enumerate() {
        if place > 0 && place.is_multiple_of(4) {
            groups.push(' ');
        }
        groups.push(symbol);
    }
    groups
}

async fn finish(context: &mut Context, acting: &Acting, pending: &Secret, source: &Source) -> Result<Answer, Failure> {
    let path = acting.path(&format!("/secrets/{}/enroll", segment(&pending.uid)));
    loop {
        let code = Code::ask(context, TOKEN, source).await?;
        let Code::Token(_) = code else {
            return Err(Failure::Usage("enrolment needs a code of the authenticator, not a backup code".to_owned()));
        };
        let answer = context.client.send(Call::put(path.as_str()).by(&acting.authority).with(code.body())).await?;
        match answer.granted() {
            Err(Failure::Refused(problem)) => {
                explain(context.out, &problem, pending);
                if *source != Source::Prompt || !problem.may_try_again() {
                    return Err(Failure::Refused(problem));
                }
                context.out.error(&problem.to_string());
            }
            other => return other,
        }
    }
}

async fn finish_by_key(context: &mut Context, acting: &Acting, pending: &Secret) -> Result<Answer, Failure> {
    ask_for_touch(context.out);
    let path = acting.path(&format!("/secrets/{}/enroll", segment(&pending.uid)));
    context.client.ask(Call::put(path).by(&acting.authority).with(by_key())).await
}

fn explain(out: Output, problem: &Problem, pending: &Secret) {
    if let Some(diagnosis) = &problem.diagnosis {
        out.aside(&visible(&sentence(diagnosis, pending)));
    }
}

/// Tells the user which setting of the authenticator is wrong. The daemon reports the parameters and the time for which
/// the code would have been correct; the differences from the secret are the mistakes.
fn sentence(found: &Diagnosis, own: &Secret) -> String {
    let mut odd = Vec::new();
    if let Some(algorithm) = found.algorithm.as_ref().filter(|algorithm| own.algorithm.as_ref() != Some(algorithm)) {
        odd.push(format!("algorithm {algorithm} instead of {}", own.algorithm.as_deref().unwrap_or("another")));
    }
    if let Some(digits) = found.digits.filter(|digits| own.digits != Some(*digits)) {
        odd.push(format!("{digits} digits instead of {}", or_another(own.digits)));
    }
    if let Some(period) = found.period.filter(|period| own.period != Some(*period)) {
        odd.push(format!(
            "a period of {period} s instead of {}",
            own.period.map_or_else(|| "another".to_owned(), |own| format!("{own} s"))
        ));
    }
    let profile = (!odd.is_empty())
        .then(|| format!("the authenticator uses {}: enter the key again with the correct settings", odd.join(", ")));
    let drift = found.drift_seconds.filter(|seconds| *seconds != 0).map(|seconds| {
        let way = if seconds > 0 { "ahead of" } else { "behind" };
        let seconds = seconds.unsigned_abs();
        // Clocks drift by minutes. A larger difference is one of time zones.
        if seconds > LONGEST_DRIFT {
            let (hours, minutes) = (seconds.div_euclid(3600), seconds.rem_euclid(3600).div_euclid(60));
            return format!(
                "the authenticator's clock is {hours} h {minutes:02} min {way} this host's, so its time zone is wrong: \
                 have it set time zone and time automatically"
            );
        }
        format!("the authenticator's clock is about {seconds} s {way} this host's: synchronise it with the network")
    });
    let parts: Vec<String> = profile.into_iter().chain(drift).collect();
    if parts.is_empty() {
        "the code was correct a moment ago: wait for the next one".to_owned()
    } else {
        parts.join("; ")
    }
}

fn or_another(value: Option<u8>) -> String {
    value.map_or_else(|| "another number".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> Secret {
        let record = serde_json::json!({
            "uid": "s", "type": "mfa", "status": "pending", "dateCreated": "", "version": 1,
            "kind": "totp", "algorithm": "SHA256", "digits": 6, "period": 30,
        });
        serde_json::from_value(record).unwrap()
    }

    fn diagnosed(json: &str) -> String {
        sentence(&serde_json::from_str(json).unwrap(), &pending())
    }

    #[test]
    fn a_key_is_shown_in_groups_of_four() {
        let groups = |key: &str| in_groups(&SecretString::new(key.to_owned())).as_str().to_owned();

        assert_eq!(groups("GEZDGNBVGY"), "GEZD GNBV GY");
        assert_eq!(groups(""), "");
    }

    #[test]
    fn a_clock_that_is_off_is_named() {
        let text = diagnosed(r#"{"algorithm":"SHA256","digits":6,"period":30,"driftSeconds":-90}"#);

        assert_eq!(text, "the authenticator's clock is about 90 s behind this host's: synchronise it with the network");
    }

    #[test]
    fn a_time_zone_that_is_wrong_is_named() {
        for (drift, words) in
            [(18_000, "5 h 00 min ahead of"), (-20_700, "5 h 45 min behind"), (-3600, "1 h 00 min behind")]
        {
            let found = format!(r#"{{"algorithm":"SHA256","digits":6,"period":30,"driftSeconds":{drift}}}"#);

            let text = diagnosed(&found);

            assert!(text.contains(words) && text.contains("time zone"), "{text}");
        }
    }

    #[test]
    fn only_what_differs_is_named() {
        let text = diagnosed(r#"{"algorithm":"SHA1","digits":6,"period":60,"driftSeconds":0}"#);

        assert_eq!(
            text,
            "the authenticator uses algorithm SHA1 instead of SHA256, a period of 60 s instead of 30 s: \
             enter the key again with the correct settings"
        );
    }
}
