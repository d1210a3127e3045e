//! What a file is, by its first bytes: a name may be wrong or missing, and one kind of file is never taken for another.

use std::io::{self, Read};

use super::kinds::Compression;

/// As many bytes as tell every kind; a tar archive says so at its 257th byte.
pub const HEAD: usize = 4096;

/// What the first bytes of a file say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A packed stream.
    Packed(Compression),
    /// A zip archive, as which some programs store their documents too.
    Zip,
    /// A tar archive.
    Tar,
    /// Parquet.
    Parquet,
    /// Text that begins as a JSON object or an array of them.
    Json,
    /// Other text: UTF-8, UTF-16 with its mark, or nothing at all.
    Text,
    /// Anything else, with its name: `a PDF document`.
    Other(&'static str),
}

/// First bytes, and what has them.
const NAMED: [(&[u8], &str); 21] = [
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x04\x22\x4d\x18", "an LZ4 stream"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"ARROW1", "an Arrow file"),
    (b"\xff\xff\xff\xff", "an Arrow stream"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x7fELF", "a program"),
    (b"{\\rtf", "an RTF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"version https://git-lfs", "a Git LFS pointer (run `git lfs pull`)"),
    (b"GGUF", "a GGUF model"),
];

/// What begins with `head`, of which [`HEAD`] bytes are enough.
pub fn kind(head: &[u8]) -> Kind {
    let begins = |magic: &[u8]| head.starts_with(magic);
    if let Some(packed) = packing(head) {
        return Kind::Packed(packed);
    }
    if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") {
        return Kind::Zip;
    }
    if head.get(257..262) == Some(b"ustar") {
        return Kind::Tar;
    }
    if begins(b"PAR1") {
        return Kind::Parquet;
    }
    if begins(b"PARE") {
        return Kind::Other("an encrypted Parquet file");
    }
    // The mark of UTF-32 begins with that of UTF-16.
    if begins(b"\xff\xfe\0\0") || begins(b"\0\0\xfe\xff") {
        return Kind::Other("UTF-32 text (`iconv -f UTF-32 -t UTF-8` converts it)");
    }
    if begins(b"\xff\xfe") || begins(b"\xfe\xff") {
        return Kind::Text;
    }
    if let Some((_, name)) = NAMED.iter().find(|(magic, _)| begins(magic)) {
        return Kind::Other(name);
    }
    if let Some(name) = wide(head) {
        return Kind::Other(name);
    }
    let zeros = head.iter().filter(|&&byte| byte == 0).count();
    if zeros == 0 && is_other_encoding(head) {
        return Kind::Other(OTHER_ENCODING);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let inner = |open: u8| text.strip_prefix(&[open]).map(<[u8]>::trim_ascii_start);
    let object = |text: &[u8]| text.starts_with(b"{");
    if inner(b'{').is_some_and(|inner| inner.starts_with(b"\"")) || inner(b'[').is_some_and(object) {
        return Kind::Json;
    }
    // Text has hardly a NUL, and what is no text hardly goes without.
    if zeros > 3 && zeros * 20 > head.len() {
        return Kind::Other("a binary file");
    }
    Kind::Text
}

/// The packing that the first bytes tell.
pub fn packing(head: &[u8]) -> Option<Compression> {
    let known: [(&[u8], Compression); 4] = [
        (b"\x1f\x8b", Compression::Gzip),
        (b"BZh", Compression::Bzip2),
        (b"\x28\xb5\x2f\xfd", Compression::Zstd),
        (b"\xfd7zXZ\0", Compression::Xz),
    ];
    known.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, packing)| *packing)
}

const OTHER_ENCODING: &str = "no UTF-8 (text of another encoding is converted by `iconv -t UTF-8 -f` and its name, such as WINDOWS-1252)";

/// Whether hardly anything of what is no ASCII is UTF-8: such text has an encoding of before, of which putting right piece by
/// piece would leave only the ASCII.
fn is_other_encoding(head: &[u8]) -> bool {
    let (mut letters, mut broken) = (0, 0);
    for chunk in head.utf8_chunks() {
        letters += chunk.valid().chars().filter(|letter| !letter.is_ascii()).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    broken >= 8 && 2 * letters < broken
}

/// UTF-16 without its mark: of the Latin letters every other byte is NUL.
fn wide(head: &[u8]) -> Option<&'static str> {
    let half = head.len() / 2;
    let zeros = |offset: usize| head.iter().skip(offset).step_by(2).filter(|&&byte| byte == 0).count();
    if half < 4 {
        return None;
    }
    match (zeros(0), zeros(1)) {
        (0, odd) if odd * 4 > half => {
            Some("UTF-16 text without a byte-order mark (`iconv -f UTF-16LE -t UTF-8` converts it)")
        }
        (even, 0) if even * 4 > half => {
            Some("UTF-16 text without a byte-order mark (`iconv -f UTF-16BE -t UTF-8` converts it)")
        }
        _ => None,
    }
}

/// The first bytes of `reader`, and a reader of it all. Of a pipe no more is waited for than the bytes that tell packings
/// apart, or a line.
pub fn peek(mut reader: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = vec![0; HEAD];
    let mut filled = 0;
    while filled < 8 && !head[..filled].contains(&b'\n') {
        match reader.read(&mut head[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(filled);
    let whole = io::Cursor::new(head.clone()).chain(reader);
    Ok((head, Box::new(whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        for (head, expected) in [
            (&b""[..], Kind::Text),
            (b"the cat", Kind::Text),
            (b"{\"text\": 1}", Kind::Json),
            (b"\xef\xbb\xbf [\n {", Kind::Json),
            (b"[CLS] is a token", Kind::Text),
            (b"{x} is a set", Kind::Text),
            (b"\xff\xfea\0", Kind::Text),
            (b"\x1f\x8b\x08", Kind::Packed(Compression::Gzip)),
            (b"\xfd7zXZ\0", Kind::Packed(Compression::Xz)),
            (b"PK\x03\x04", Kind::Zip),
            (b"PAR1", Kind::Parquet),
            (b"%PDF-1.7", Kind::Other("a PDF document")),
        ] {
            assert_eq!(kind(head), expected, "{head:?}");
        }
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        assert!(matches!(kind(&wide("the cat sat")), Kind::Other(name) if name.contains("UTF-16LE")));
        assert!(matches!(kind(&[1, 0, 0, 0, 7, 0, 0, 0, 9, 1]), Kind::Other(_)));
        // `сегодня хорошая погода` in Windows-1251, `café déjà vu` in Latin-1, `今天天气很好猫在睡觉` in GBK.
        let russian: Vec<u8> = "сегодня хорошая погода"
            .chars()
            .map(|letter| if letter == ' ' { b' ' } else { (u32::from(letter) - 0x350) as u8 })
            .collect();
        let french = b"caf\xe9 d\xe9j\xe0 vu\n".repeat(3);
        let chinese = b"\xbd\xf1\xcc\xec\xcc\xec\xc6\xf8\xba\xdc\xba\xc3\xc3\xa8\xd4\xda\xcb\xaf\xbe\xf5";
        for other in [russian.as_slice(), &french, chinese] {
            assert_eq!(kind(other), Kind::Other(OTHER_ENCODING));
        }
        // Broken UTF-8 is put right, wherever its first bytes end, and however often it is broken among letters.
        let often = "хорошая погода \u{1}".repeat(10).into_bytes();
        let often: Vec<u8> = often.into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect();
        assert_eq!(kind(&often), Kind::Text);
        let broken = "сегодня хорошая погода".as_bytes();
        for end in 0..broken.len() {
            assert_eq!(kind(&[b"a\xff", &broken[..end]].concat()), Kind::Text);
        }
    }
}
