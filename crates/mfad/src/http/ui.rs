//! The self-service page: three files and the texts of another language, which an app's reverse proxy shows to its users
//! at `/ui/`. They are served only if the configuration has `ui = true`. Everything that the page does goes over the API,
//! with the user's own token.

use std::borrow::Cow;

use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::Page;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Content security policy (CSP Level 3): the page loads only its own files and inline images, and no site may frame
/// it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'none'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// A file of the page.
pub(super) struct File {
    /// Value of the header `Content-Type`.
    pub media_type: HeaderValue,
    /// Body of the response.
    pub contents: Cow<'static, [u8]>,
}

/// Returns the file at exactly this path.
pub(super) fn file(path: &str, page: &Page) -> Option<File> {
    let (media_type, contents): (_, &'static [u8]) = match path {
        "/ui/" => ("text/html; charset=utf-8", include_bytes!("ui/index.html")),
        "/ui/ui.css" => ("text/css; charset=utf-8", include_bytes!("ui/ui.css")),
        "/ui/ui.js" => ("text/javascript; charset=utf-8", include_bytes!("ui/ui.js")),
        "/ui/words.json" => return Some(File { media_type: JSON, contents: Cow::Owned(page.words.clone()) }),
        _ => return None,
    };
    Some(File { media_type: HeaderValue::from_static(media_type), contents: Cow::Borrowed(contents) })
}

/// Path that people type; it redirects to `HOME`.
pub(super) const WITHOUT_SLASH: &str = "/ui";
/// Target of the redirect. It is relative, so that it works below any path at which the proxy has the page.
pub(super) const HOME: HeaderValue = HeaderValue::from_static("ui/");
/// Media type of the redirect, whose body is empty.
pub(super) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The only method that the files support.
pub(super) const METHOD: Method = Method::GET;

/// Adds the security headers of every response of the page.
pub(super) fn guard(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("publickey-credentials-get=(self), publickey-credentials-create=(self)"),
    );
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nothing_inline_and_asks_nobody_else() {
        let page = Page { words: b"{}".to_vec() };
        let text = |path: &str| String::from_utf8(file(path, &page).unwrap().contents.into_owned()).unwrap();
        // The namespace of SVG looks like a URL, but nothing is loaded from it.
        let html = text("/ui/").replace("http://www.w3.org/2000/svg", "");

        for inline in ["<style", "style=", "onclick=", "onload=", "javascript:", "http://", "https://"] {
            assert!(!html.contains(inline), "{inline}");
        }
        assert!(
            html.matches("<script").count() == 1 && html.contains("src=\"ui.js\"") && html.contains("href=\"ui.css\"")
        );
        for place in ["localStorage", "sessionStorage", "document.cookie", "innerHTML", "eval("] {
            assert!(!text("/ui/ui.js").contains(place), "{place}");
        }
        for path in ["/ui/../ui.js", "/ui", "/ui/ui.rs"] {
            assert!(file(path, &page).is_none(), "{path}");
        }
    }
}
