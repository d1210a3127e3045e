//! Requests to the hub: who is given the token, what is tried again, and when a silent line is given up.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use ureq::Agent;
use ureq::http::{HeaderMap, Uri};

use crate::cli::print;

/// A request follows so many redirects.
const REDIRECTS: usize = 10;
/// A hub that is busy is asked so many times.
const ATTEMPTS: u32 = 5;
/// A hub that asks to wait longer is left alone.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The line; another attempt may succeed.
    Line(anyhow::Error),
    /// What the hub said; another attempt would get the same.
    Told(anyhow::Error),
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Line(error) | Failure::Told(error) => error,
        }
    }
}

/// What came.
pub struct Answer {
    /// The status of the last answer.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The headers of the first answer: the hub's own, which may have sent the reader elsewhere.
    pub first: HeaderMap,
    /// The bytes, as they come.
    pub body: Chunks,
}

/// Asks the hub, and whom it names.
pub struct Http {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
    /// A line on which no byte comes for so long is broken.
    patience: Duration,
}

impl Http {
    /// For the hub at `endpoint`, with a token that is for it alone.
    pub fn new(endpoint: String, token: Option<String>, patience: Duration) -> Http {
        let agent = Agent::config_builder()
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            // Redirects are followed here, where it is known for whom the token is.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("wgrad/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Http { agent, endpoint, token, patience }
    }

    /// Where the hub is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether there is a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks for `url` from byte `from` on. A hub that is busy is asked again when it says so.
    ///
    /// # Errors
    /// No connection, or a hub that stays busy.
    pub fn get(&self, url: &str, from: u64) -> Result<Answer, Failure> {
        let mut attempt = 0;
        loop {
            let answer = self.follow(url, from)?;
            attempt += 1;
            let busy = [429, 500, 502, 503, 504].contains(&answer.status);
            if !busy || attempt == ATTEMPTS {
                return Ok(answer);
            }
            let asked = answer.headers.get("retry-after").and_then(|value| retry_after(value.to_str().ok()?));
            let wait = asked.unwrap_or(Duration::from_millis(500 << attempt));
            if wait > LONGEST_WAIT {
                let (status, wait) = (answer.status, wait.as_secs());
                let error = anyhow!("{url}: {status}: the hub asks to come back in {wait} seconds");
                return Err(Failure::Told(error));
            }
            if wait > Duration::from_secs(2) {
                print::note(format_args!("{}: waiting {} s, as the hub asks", answer.status, wait.as_secs()));
            }
            std::thread::sleep(wait);
        }
    }

    fn follow(&self, url: &str, from: u64) -> Result<Answer, Failure> {
        let mut place = url.to_owned();
        let mut first = None;
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(&place);
            // Another port or scheme is another place, too.
            if let Some(token) = self.token.as_ref().filter(|_| origin(&place) == origin(&self.endpoint)) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            if from > 0 {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let answer = request
                .call()
                .with_context(|| {
                    // What stands behind the question mark may be the key to a private file.
                    place.split('?').next().unwrap_or_default().to_owned()
                })
                .map_err(Failure::Line)?;
            let (parts, body) = answer.into_parts();
            let status = parts.status.as_u16();
            let first = first.get_or_insert_with(|| parts.headers.clone());
            let location = parts.headers.get("location").and_then(|value| value.to_str().ok());
            match location.filter(|_| [301, 302, 303, 307, 308].contains(&status)) {
                Some(location) => place = joined(&place, location),
                None => {
                    let body = Chunks::new(body.into_reader(), self.patience);
                    return Ok(Answer { status, headers: parts.headers, first: first.clone(), body });
                }
            }
        }
        Err(Failure::Told(anyhow!("{url}: more than {REDIRECTS} redirects")))
    }
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let url: Uri = url.parse().ok()?;
    let scheme = url.scheme_str()?.to_ascii_lowercase();
    let port = url.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, url.host()?.to_ascii_lowercase(), port))
}

/// Where a `Location` in an answer of `place` leads.
fn joined(place: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let scheme = place.find("://").map_or(0, |at| at + 3);
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{}{rest}", &place[..scheme]);
    }
    let path = place[scheme..].find('/').map_or(place.len(), |at| scheme + at);
    match location.starts_with('/') {
        true => format!("{}{location}", &place[..path]),
        false => {
            let bare = place.find('?').map_or(place, |query| &place[..query]);
            let folder = bare.rfind('/').filter(|slash| *slash >= path).map_or(bare.len(), |slash| slash + 1);
            format!("{}{location}", &bare[..folder])
        }
    }
}

/// The wait that a `Retry-After` asks for: seconds, or a time.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value.trim()).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The bytes of an answer. They are taken from the line by a thread of their own, because a read that waits cannot be
/// ended from outside; the thread ends with the line.
pub struct Chunks {
    receiver: Receiver<io::Result<Vec<u8>>>,
    patience: Duration,
    ended: bool,
}

impl Chunks {
    fn new(mut reader: impl Read + Send + 'static, patience: Duration) -> Chunks {
        let (sender, receiver) = sync_channel(8);
        std::thread::spawn(move || {
            loop {
                let mut chunk = vec![0; 1 << 16];
                let read = reader.read(&mut chunk).map(|count| {
                    chunk.truncate(count);
                    chunk
                });
                let last = read.as_ref().map_or(true, Vec::is_empty);
                // Nobody reads on when the answer was given up.
                if sender.send(read).is_err() || last {
                    return;
                }
            }
        });
        Chunks { receiver, patience, ended: false }
    }

    /// The next bytes; none at the end.
    pub fn next(&mut self) -> io::Result<Vec<u8>> {
        if self.ended {
            return Ok(Vec::new());
        }
        let chunk = match self.receiver.recv_timeout(self.patience) {
            Ok(chunk) => chunk,
            Err(RecvTimeoutError::Timeout) => {
                let what = format!("no byte came for {} seconds", self.patience.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, what))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(Vec::new()),
        };
        self.ended = chunk.as_ref().map_or(true, Vec::is_empty);
        chunk
    }

    /// All of it as text, up to `limit` bytes.
    pub fn text(&mut self, limit: usize) -> io::Result<String> {
        let mut all = Vec::new();
        loop {
            let chunk = self.next()?;
            if chunk.is_empty() {
                return String::from_utf8(all)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
            }
            all.extend(chunk);
            if all.len() > limit {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {limit} bytes")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        assert_eq!(origin("https://huggingface.co/a"), origin("https://HuggingFace.co:443/b?c"));
        for other in
            ["http://huggingface.co/a", "https://huggingface.co:444/a", "https://cdn.huggingface.co/a"]
        {
            assert_ne!(origin("https://huggingface.co/a"), origin(other), "{other}");
        }
        let place = "https://h.co:8/a/b?c=/d";
        for (location, expected) in [
            ("http://x/y", "http://x/y"),
            ("//x/y", "https://x/y"),
            ("/y", "https://h.co:8/y"),
            ("y", "https://h.co:8/a/y"),
        ] {
            assert_eq!(joined(place, location), expected);
        }
    }

    #[test]
    fn waits_are_seconds_or_times() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
    }
}
