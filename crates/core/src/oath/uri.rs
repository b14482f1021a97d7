//! The otpauth URI that authenticator apps read from a QR code: writing it, and reading those of other programs.

use std::borrow::Cow;

use data_encoding::{BASE32_NOPAD, Specification};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::model::{Algorithm, Digits, OtpKind, Period, Profile, Sensitive, Text};

use super::otp::HIGHEST_FIRST_COUNTER;

/// Escapes everything but the unreserved characters of RFC 3986 section 2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns `otpauth://TYPE/ISSUER:ACCOUNT?secret=…&issuer=…&algorithm=…&digits=…` with `period` (TOTP) or `counter=0`
/// (HOTP), as in the "Key URI Format" of the authenticator apps. The seed is Base32 without padding (RFC 4648
/// section 6).
pub fn otpauth_uri(profile: &Profile, seed: &[u8], issuer: &Text, account: &Text) -> Sensitive<String> {
    let issuer = utf8_percent_encode(issuer.as_str(), ESCAPED).to_string();
    let account = utf8_percent_encode(account.as_str(), ESCAPED);
    let moving = match profile.moving {
        OtpKind::Totp(period) => format!("period={}", period.seconds()),
        OtpKind::Hotp => "counter=0".to_owned(),
    };
    Sensitive::new(format!(
        "otpauth://{}/{issuer}:{account}?secret={}&issuer={issuer}&algorithm={}&digits={}&{moving}",
        profile.kind(),
        Sensitive::new(BASE32_NOPAD.encode(seed)).expose(),
        profile.algorithm.name(),
        profile.digits.count(),
    ))
}

/// Returns the same URI without the parameters whose values are the defaults of the "Key URI Format", and on demand
/// without the issuer, which is also in the label. It makes a smaller QR code.
pub fn shortened(uri: &str, keeps_issuer: bool) -> Sensitive<String> {
    const DEFAULTS: [&str; 3] = ["algorithm=SHA1", "digits=6", "period=30"];
    let is_kept = |part: &str| !DEFAULTS.contains(&part) && (keeps_issuer || !part.starts_with("issuer="));
    let (label, parameters) = uri.split_once('?').unwrap_or((uri, ""));
    // With its full capacity from the start, so that no copy without a wipe is left behind.
    let mut short = String::with_capacity(uri.len());
    short.push_str(label);
    let kept = parameters.split('&').filter(|part| is_kept(part));
    for (separator, part) in std::iter::once('?').chain(std::iter::repeat('&')).zip(kept) {
        short.push(separator);
        short.push_str(part);
    }
    Sensitive::new(short)
}

/// The shortest seed that is imported, in bytes: 128 bits (RFC 4226 section 4 R6).
pub const SHORTEST_SEED: usize = 16;
/// The shortest seed that an import accepts if it is told to, in bytes: 80 bits, as many older services made them.
pub const SHORTEST_WEAK_SEED: usize = 10;
/// The longest seed that is imported, in bytes. It fits into one block of every hash.
pub const LONGEST_SEED: usize = 64;
/// Parameters that other programs use for names, pictures and the order of their lists. No code depends on them.
const PASSED_OVER: [&str; 8] = ["image", "icon", "color", "lock", "codeDisplay", "tag", "tags", "creator"];
/// The longest parameter name that a refusal repeats. Base32 of 80 bits, the shortest seed in use, has 16 symbols, so a
/// longer name may be a seed in the wrong place.
const LONGEST_NAME_SHOWN: usize = 15;

/// Why a URI is refused: the part that is wrong, and never a value in it (HTTP-6).
type Refusal = Cow<'static, str>;

/// The content of an otpauth URI of another program. Nothing is guessed: parameters that cannot be kept are refused.
pub struct OtpauthUri {
    /// Algorithm, digits, and period or counter. The defaults are SHA1, 6 digits and 30 seconds.
    pub profile: Profile,
    /// The decoded seed, 16 to 64 bytes.
    pub seed: Sensitive<Vec<u8>>,
    /// The counter of the next code for HOTP, at most 2^62; 0 for TOTP.
    pub counter: u64,
    /// The issuer, from the parameter or else from the label.
    pub issuer: Option<String>,
    /// The account name, from the label.
    pub account: String,
}

impl OtpauthUri {
    /// Reads `otpauth://totp/…` and `otpauth://hotp/…`. Ignores parameters that no code depends on. The refusal names
    /// the part that is wrong and never repeats its content.
    pub fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let rest = text.strip_prefix("otpauth://").ok_or("it does not begin with otpauth://")?;
        let (path, query) = rest.split_once('?').ok_or("it has no parameters")?;
        let (kind, label) = path.split_once('/').ok_or("it has no label")?;
        let label = decoded(label).ok_or("its label is no UTF-8")?;
        let (before, account) = match label.split_once(':') {
            Some((issuer, account)) => (Some(issuer.to_owned()), account.trim().to_owned()),
            None => (None, label),
        };
        let mut fields = Fields::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("a parameter has no value")?;
            fields.take(name, value)?;
        }
        let seed = fields.secret.ok_or("it has no secret")?;
        let moving = match (kind, fields.period, fields.counter) {
            ("totp", period, None) => {
                OtpKind::Totp(Period::new(period.unwrap_or(30)).ok_or("its period is not 15 to 120 seconds")?)
            }
            ("hotp", None, Some(_)) => OtpKind::Hotp,
            // Without a counter the next code could only be guessed.
            ("hotp", None, None) => return Err("a counter-based one needs a counter".into()),
            ("totp" | "hotp", ..) => return Err("period goes with totp, counter with hotp".into()),
            _ => return Err("its type is neither totp nor hotp".into()),
        };
        let profile = Profile {
            algorithm: fields.algorithm.unwrap_or(Algorithm::Sha1),
            digits: fields.digits.unwrap_or(Digits::SIX),
            moving,
        };
        let issuer = fields.issuer.or(before);
        Ok(Self { profile, seed, counter: fields.counter.unwrap_or(0), issuer, account })
    }
}

#[derive(Default)]
struct Fields {
    secret: Option<Sensitive<Vec<u8>>>,
    algorithm: Option<Algorithm>,
    digits: Option<Digits>,
    period: Option<u64>,
    counter: Option<u64>,
    issuer: Option<String>,
}

impl Fields {
    fn take(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        // Of two values one would be ignored without notice.
        let once = |is_there: bool| if is_there { Err("a parameter comes twice") } else { Ok(()) };
        match name {
            "secret" => {
                once(self.secret.is_some())?;
                self.secret = Some(seed(value)?);
            }
            "algorithm" => {
                once(self.algorithm.is_some())?;
                // Other programs also write `HmacSHA256` or `SHA-256`.
                let name = value.to_ascii_uppercase().replace("HMAC", "").replace('-', "");
                let found = Algorithm::parse(&name).ok_or("its algorithm is none of SHA1, SHA256, SHA512")?;
                self.algorithm = Some(found);
            }
            "digits" => {
                once(self.digits.is_some())?;
                let digits = number(value).and_then(Digits::new).ok_or("its digits are not 6 to 8")?;
                self.digits = Some(digits);
            }
            "period" => {
                once(self.period.is_some())?;
                self.period = Some(number(value).ok_or("its period is no number")?);
            }
            "counter" => {
                once(self.counter.is_some())?;
                let counter = number(value).filter(|counter| *counter <= HIGHEST_FIRST_COUNTER);
                self.counter = Some(counter.ok_or("its counter is no number from 0 to 2^62")?);
            }
            "issuer" => {
                once(self.issuer.is_some())?;
                self.issuer = Some(decoded(value).ok_or("its issuer is no UTF-8")?);
            }
            name if PASSED_OVER.contains(&name) => {}
            name => return Err(unknown(name)),
        }
        Ok(())
    }
}

/// The refusal of an unknown parameter, such as `encoder` or `offset`. It repeats the name if it looks like a name.
fn unknown(name: &str) -> Refusal {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=LONGEST_NAME_SHOWN).contains(&name.len()) && name.bytes().all(is_plain) {
        format!("its parameter {name} is not known here and may change the codes").into()
    } else {
        "it has a parameter that is not known here and may change the codes".into()
    }
}

/// Reads the secret of a URI.
fn seed(text: &str) -> Result<Sensitive<Vec<u8>>, &'static str> {
    let wrong = "its secret is no Base32";
    let text = Sensitive::new(decoded(text).ok_or(wrong)?);
    let seed = lenient_base32(text.expose()).ok_or(wrong)?;
    match seed.expose().len() {
        ..SHORTEST_SEED => Err("its secret is shorter than 128 bits; make a new one instead"),
        SHORTEST_SEED..=LONGEST_SEED => Ok(seed),
        _ => Err("its secret is longer than 512 bits"),
    }
}

/// Decodes Base32 (RFC 4648 section 6) as other programs write it: in either case, with or without padding, spaces and
/// hyphens. `None` if it is none.
pub fn lenient_base32(text: &str) -> Option<Sensitive<Vec<u8>>> {
    let mut lenient = Specification::new();
    lenient.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
    lenient.translate.from.push_str("abcdefghijklmnopqrstuvwxyz");
    lenient.translate.to.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    lenient.ignore.push_str(" -=");
    // Bits after the last whole byte carry no seed, so their value does not matter.
    lenient.check_trailing_bits = false;
    lenient.encoding().ok()?.decode(text.as_bytes()).ok().map(Sensitive::new)
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

fn number(text: &str) -> Option<u64> {
    // The parser of integers also takes a plus sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    fn read(text: &str) -> OtpauthUri {
        OtpauthUri::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    fn why_not(rest: &str) -> Refusal {
        OtpauthUri::parse(&format!("otpauth://{rest}")).err().unwrap_or_else(|| panic!("{rest} was taken"))
    }

    #[test]
    fn what_we_write_we_read_whatever_the_profile() {
        let text = |text: &str| Text::parse_label_part(text).unwrap();
        for algorithm in Algorithm::ALL {
            for digits in Digits::ALL {
                for moving in
                    [OtpKind::Hotp, OtpKind::Totp(Period::new(15).unwrap()), OtpKind::Totp(Period::new(60).unwrap())]
                {
                    let profile = Profile { algorithm, digits, moving };
                    let uri = otpauth_uri(&profile, &[7; 20], &text("a b"), &text("anna@example.org"));
                    let back = read(uri.expose());
                    assert_eq!((back.profile, back.seed.expose().as_slice()), (profile, [7; 20].as_slice()));
                    assert_eq!((back.issuer.as_deref(), back.account.as_str()), (Some("a b"), "anna@example.org"));
                }
            }
        }
    }

    #[test]
    fn silence_means_the_defaults_and_other_spellings_are_read() {
        let plain = read(&format!("otpauth://totp/anna?secret={SECRET}"));
        assert_eq!(plain.profile.binding(), "totp/SHA1/6/30");
        assert_eq!((plain.account.as_str(), plain.issuer), ("anna", None));
        assert_eq!(plain.seed.expose(), b"12345678901234567890");
        let other = "otpauth://hotp/Acme:%20anna?secret=gezd%20gnbv-gy3t-qojq-gezd-gnbv-gy3t-qojq&algorithm=HmacSHA256&counter=7";
        let other = read(other);
        assert_eq!((other.profile.binding().as_str(), other.counter), ("hotp/SHA256/6", 7));
        assert_eq!((other.seed.expose(), other.account.as_str()), (plain.seed.expose(), "anna"));
    }

    #[test]
    fn what_no_code_depends_on_is_passed_over() {
        let plain = read(&format!("otpauth://totp/anna?secret={SECRET}&digits=8"));
        for more in
            ["codeDisplay=%7B%22pinned%22%3Atrue%7D", "tag=", "icon=a&color=ff0000&lock=false&image=x", "tags=a,b"]
        {
            let other = read(&format!("otpauth://totp/anna?{more}&secret={SECRET}&digits=8"));
            assert_eq!((other.profile, other.seed.expose()), (plain.profile, plain.seed.expose()), "{more}");
        }
    }

    #[test]
    fn what_may_change_the_codes_is_refused_by_name_and_without_its_value() {
        for name in ["encoder", "offset", "t0", "epoch", "pin", "2step_salt", "SECRET", "ICON"] {
            let why = why_not(&format!("totp/a?secret={SECRET}&{name}=hunter2"));
            assert!(why.contains(&format!("parameter {name} ")) && !why.contains("hunter2"), "{name}: {why}");
        }
        for odd in [&SECRET[..16], SECRET, "", "a%20b", "ä"] {
            let why = why_not(&format!("totp/a?secret={SECRET}&{odd}=x"));
            assert_eq!(why, "it has a parameter that is not known here and may change the codes", "{odd}");
        }
    }

    #[test]
    fn otp_1_what_cannot_be_kept_is_refused_by_name() {
        let with = |more: &str| why_not(&format!("totp/a?secret={SECRET}{more}"));
        assert!(with("&algorithm=MD5").contains("algorithm"));
        assert!(with("&digits=5").contains("digits") && with("&digits=9").contains("digits"));
        assert!(with("&period=0").contains("period") && with("&period=121").contains("period"));
        assert!(with("&encoder=steam").contains("not known"));
        assert!(with("&digits=6&digits=8").contains("twice"));
        assert!(with("&counter=1").contains("counter"));
        assert!(why_not(&format!("hotp/a?secret={SECRET}")).contains("counter"));
        assert!(why_not(&format!("steam/a?secret={SECRET}")).contains("type"));
        assert!(why_not("totp/a?secret=GEZDGNBVGY3TQOJQ").contains("128 bits"));
        assert!(why_not("totp/a?secret=0189").contains("Base32"));
        assert!(why_not("totp/a?issuer=b").contains("secret"));
        assert!(OtpauthUri::parse("https://example.org").is_err());
    }
}
