//! NumPy's `.npy` format, version 1.0, for matrices of f32.

/// The bytes before the values of a `[rows, columns]` matrix: always 128, so that they can be written again when the
/// number of rows is known.
pub fn header(rows: usize, columns: usize) -> Vec<u8> {
    const LENGTH: usize = 128;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(((LENGTH - 10) as u16).to_le_bytes());
    let description = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    bytes.extend(description.as_bytes());
    bytes.resize(LENGTH - 1, b' ');
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn headers_have_one_length() {
        for (rows, columns) in [(0, 0), (1, 384), (usize::MAX, usize::MAX)] {
            let header = super::header(rows, columns);
            assert_eq!((header.len(), header[127]), (128, b'\n'));
            assert_eq!(header[8..10], [118, 0]);
        }
        assert!(String::from_utf8_lossy(&super::header(7, 384)).contains("'shape': (7, 384), }"));
    }
}
