//! The self-service page: three files that an app's reverse proxy shows to its users, at `/ui/`. Everything else they do goes over
//! the API, with the user's own token. They are served only where the settings say so.

use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What the page may load, and who may show it in a frame: its own files, and nobody (CSP Level 3).
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'none'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// A file of the page.
pub struct File {
    /// Its media type.
    pub media_type: HeaderValue,
    /// Its contents.
    pub contents: &'static [u8],
}

/// The file of a path.
pub fn file(path: &str) -> Option<File> {
    let (media_type, contents): (_, &'static [u8]) = match path {
        "/ui/" => ("text/html; charset=utf-8", include_bytes!("ui/index.html")),
        "/ui/ui.css" => ("text/css; charset=utf-8", include_bytes!("ui/ui.css")),
        "/ui/ui.js" => ("text/javascript; charset=utf-8", include_bytes!("ui/ui.js")),
        _ => return None,
    };
    Some(File { media_type: HeaderValue::from_static(media_type), contents })
}

/// What people type.
pub const WITHOUT_SLASH: &str = "/ui";
/// Where the page is, seen from there: below whatever path the proxy has it.
pub const HOME: HeaderValue = HeaderValue::from_static("ui/");
/// The media type of an answer without contents.
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The one method that the files take.
pub const METHOD: Method = Method::GET;

/// What goes with each of them.
pub fn guard(headers: &mut HeaderMap) {
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
        let text = |path: &str| String::from_utf8(file(path).unwrap().contents.to_vec()).unwrap();
        // The name of SVG is no address.
        let page = text("/ui/").replace("http://www.w3.org/2000/svg", "");

        for inline in ["<style", "style=", "onclick=", "onload=", "javascript:", "http://", "https://"] {
            assert!(!page.contains(inline), "{inline}");
        }
        assert!(
            page.matches("<script").count() == 1 && page.contains("src=\"ui.js\"") && page.contains("href=\"ui.css\"")
        );
        for place in ["localStorage", "sessionStorage", "document.cookie", "innerHTML", "eval("] {
            assert!(!text("/ui/ui.js").contains(place), "{place}");
        }
        assert!(file("/ui/../ui.js").is_none() && file("/ui").is_none() && file("/ui/ui.rs").is_none());
    }
}
