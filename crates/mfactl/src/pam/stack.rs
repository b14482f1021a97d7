//! The text of a PAM stack (`pam.d(5)`), with and without the line of the module.

/// Name of the module's file.
pub(super) const MODULE: &str = "pam_mfad.so";

/// Why a stack cannot get the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has the module already.
    HasModule,
    /// It has no line of the type `auth` to put the module after.
    NoAuth,
}

/// Whether the module is in the stack. Comments do not count.
pub(super) fn has_module(text: &str) -> bool {
    text.lines().any(is_of_module)
}

fn is_of_module(line: &str) -> bool {
    line.split('#').next().unwrap_or_default().contains(MODULE)
}

/// Returns the stack with this line after its last line of the type `auth`, and the number of that line. The password
/// comes first then, and whoever does not know it is not asked for a code.
pub(super) fn with_module(text: &str, line: &str) -> Result<(String, usize), Fault> {
    if has_module(text) {
        return Err(Fault::HasModule);
    }
    let lines: Vec<&str> = text.lines().collect();
    let mut last = lines.iter().rposition(|line| is_auth(line)).ok_or(Fault::NoAuth)?;
    // A line that ends with a backslash goes on in the next one.
    while lines.get(last).is_some_and(|line| line.ends_with('\\')) && last.saturating_add(1) < lines.len() {
        last = last.saturating_add(1);
    }
    let (before, after) = lines.split_at_checked(last.saturating_add(1)).unwrap_or((&lines, &[]));
    let mut stack = String::new();
    for line in before.iter().chain([&line]).chain(after) {
        stack.push_str(line);
        stack.push('\n');
    }
    Ok((stack, last.saturating_add(2)))
}

/// Whether a line adds to the stack of the type `auth`, by itself or by Debian's `@include`.
fn is_auth(line: &str) -> bool {
    let mut words = line.split_whitespace();
    match words.next() {
        Some("auth" | "-auth") => true,
        Some("@include") => words.next().is_some_and(|file| file.contains("auth")),
        _ => false,
    }
}

/// Returns the stack without the lines of the module. If a line jumps over others (`[success=1 …]`), one that always
/// succeeds takes their place: else the jump would end elsewhere, or nowhere, which refuses.
pub(super) fn without_module(text: &str) -> String {
    let jumps = text.lines().any(has_jump);
    let mut stack = String::new();
    for line in text.lines() {
        let kind = line.split_whitespace().next().unwrap_or_default();
        match is_of_module(line) {
            false => stack.push_str(line),
            true if jumps => stack.push_str(&format!("{kind}\trequired\tpam_permit.so")),
            true => continue,
        }
        stack.push('\n');
    }
    stack
}

/// Whether a line has a control such as `[success=1 default=ignore]`.
fn has_jump(line: &str) -> bool {
    let code = line.split('#').next().unwrap_or_default();
    let control = code.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(control, _)| control);
    control.is_some_and(|control| {
        control
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .any(|(_, action)| action.bytes().next().is_some_and(|byte| byte.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "auth\trequired\tpam_mfad.so";

    #[test]
    fn the_module_comes_after_the_password() {
        let sshd = "# comment\n@include common-auth\n\naccount  required pam_nologin.so\n@include common-account\n";
        let (stack, number) = with_module(sshd, LINE).unwrap();

        assert_eq!(
            stack,
            "# comment\n@include common-auth\nauth\trequired\tpam_mfad.so\n\naccount  required pam_nologin.so\n\
             @include common-account\n"
        );
        assert_eq!(number, 3);
        assert_eq!(without_module(&stack), sshd);
    }

    #[test]
    fn it_comes_after_the_last_auth_line_of_any_form() {
        let after = |stack: &str| with_module(stack, LINE).unwrap().1;

        assert_eq!(after("auth sufficient pam_rootok.so\n@include common-auth\nsession x y\n"), 3);
        assert_eq!(after("-auth optional a.so\nauth required \\\n  b.so \\\n  x=1\naccount c d\n"), 5);
        assert_eq!(after("auth include system-auth"), 2);
    }

    #[test]
    fn a_jump_over_the_module_keeps_its_end() {
        let stack =
            "auth [success=1 default=ignore] pam_succeed_if.so user ingroup break-glass\nauth required pam_mfad.so\n";
        let left = "auth [success=1 default=ignore] pam_succeed_if.so user ingroup break-glass\nauth\trequired\tpam_permit.so\n";

        assert_eq!(without_module(stack), left);
        assert!(!has_jump("auth [success=ok default=bad] x.so") && !has_jump("auth required x.so # [success=1]"));
    }

    #[test]
    fn a_stack_without_auth_or_with_the_module_is_left_alone() {
        assert_eq!(with_module("account required pam_unix.so\n", LINE), Err(Fault::NoAuth));
        assert_eq!(with_module("", LINE), Err(Fault::NoAuth));
        assert_eq!(with_module("auth required /x/pam_mfad.so dry_run\n", LINE), Err(Fault::HasModule));
        assert!(with_module("auth required x.so # pam_mfad.so\n", LINE).is_ok());
    }
}
