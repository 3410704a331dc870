//! The little of Thrift's compact protocol that a Parquet file's footer and page headers are
//! written in: enough to know their sizes before a reader makes room for them.
//!
//! The Parquet reader (59) makes room for as many row groups as a footer claims, and for as many
//! bytes as a page's header claims; a hundred bytes can so end a process for want of memory.
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

/// How deep structures may be nested; those of Parquet are half as deep.
const DEPTH_MAX: u32 = 16;

/// What is wrong with the bytes.
pub(crate) type Malformed = &'static str;

/// Types of the protocol that Parquet's structures have.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// A field of a structure: its number and its type.
#[derive(Clone, Copy)]
pub(crate) struct FieldHeader {
    pub id: i64,
    kind: u8,
}

/// Bytes that are read from the front.
pub(crate) struct Thrift<'a> {
    pub rest: &'a [u8],
}

impl<'a> Thrift<'a> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or("it ends too early")?;
        self.rest = rest;
        Ok(*first)
    }

    fn bytes(&mut self, length: u64) -> Result<(), Malformed> {
        let length = usize::try_from(length).map_err(|_| "a length that makes no sense")?;
        self.rest = self.rest.get(length..).ok_or("it ends too early")?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number that makes no sense")
    }

    fn signed(&mut self) -> Result<i64, Malformed> {
        let zigzag = self.varint()?;
        Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }

    /// Reads the fields of a structure to its end; `field` gets each and reads its value.
    pub(crate) fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self, FieldHeader) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut id = 0;
        loop {
            let header = self.byte()?;
            let kind = header & 0x0F;
            if kind == 0 {
                return Ok(());
            }
            id = match header >> 4 {
                0 => self.signed()?,
                step => i64::saturating_add(id, i64::from(step)),
            };
            field(self, FieldHeader { id, kind })?;
        }
    }

    /// The value of a field that is an integer.
    pub(crate) fn integer(&mut self, field: FieldHeader) -> Result<i64, Malformed> {
        match field.kind {
            I16 | I32 | I64 => self.signed(),
            _ => Err("a number is missing"),
        }
    }

    /// Begins the value of a field that is a list: its length, which the bytes left bound.
    pub(crate) fn list(&mut self, field: FieldHeader) -> Result<(u64, FieldHeader), Malformed> {
        match field.kind {
            LIST | SET => self.list_header(),
            _ => Err("a list is missing"),
        }
    }

    fn list_header(&mut self) -> Result<(u64, FieldHeader), Malformed> {
        let header = self.byte()?;
        let length = match header >> 4 {
            15 => self.varint()?,
            length => u64::from(length),
        };
        // Every element takes a byte at least.
        match length <= self.rest.len() as u64 {
            true => Ok((length, FieldHeader { id: 0, kind: header & 0x0F })),
            false => Err("a list is longer than the bytes that hold it"),
        }
    }

    /// Passes over the value of a field.
    pub(crate) fn skip(&mut self, field: FieldHeader) -> Result<(), Malformed> {
        match field.kind {
            // Of a field the type is the value.
            TRUE | FALSE => Ok(()),
            kind => self.skip_value(kind, 0),
        }
    }

    /// Passes over an element of a list.
    pub(crate) fn skip_element(&mut self, element: FieldHeader) -> Result<(), Malformed> {
        self.skip_value(element.kind, 0)
    }

    fn skip_value(&mut self, kind: u8, depth: u32) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err("it is nested too deep");
        }
        match kind {
            TRUE | FALSE | BYTE => self.byte().map(drop),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.bytes(8),
            BINARY => {
                let length = self.varint()?;
                self.bytes(length)
            }
            LIST | SET => {
                let (length, element) = self.list_header()?;
                (0..length).try_for_each(|_| self.skip_value(element.kind, depth + 1))
            }
            MAP => {
                let length = self.varint()?;
                if length == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                (0..length).try_for_each(|_| {
                    self.skip_value(kinds >> 4, depth + 1)?;
                    self.skip_value(kinds & 0x0F, depth + 1)
                })
            }
            STRUCT => self.fields(|thrift, field| match field.kind {
                TRUE | FALSE => Ok(()),
                kind => thrift.skip_value(kind, depth + 1),
            }),
            _ => Err("a type that there is not"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip_struct(bytes: &[u8]) -> Result<usize, Malformed> {
        let mut thrift = Thrift { rest: bytes };
        thrift.skip_element(FieldHeader { id: 0, kind: STRUCT })?;
        Ok(thrift.rest.len())
    }

    #[test]
    fn values_are_passed_over_and_lengths_are_bounded() {
        for (bytes, expected) in [
            // Field 1: true; field 2: i32 300; field 3: binary of 2; the end; two bytes more.
            (&[0x11, 0x15, 0xD8, 0x04, 0x18, 2, b'a', b'b', 0, 7, 7][..], Ok(2)),
            // A list of 3 bytes, a map of one byte to an empty structure, a double.
            (&[0x19, 0x33, 1, 2, 3, 0x1B, 1, 0x3C, 9, 0, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0], Ok(0)),
            (&[0x15], Err("it ends too early")),
            (&[0x18, 0xFF, 0xFF, 0xFF, 0x7F, 0], Err("it ends too early")),
            (
                &[0x19, 0xFC, 0xFF, 0xFF, 0xFF, 0x07],
                Err("a list is longer than the bytes that hold it"),
            ),
            (
                &[0x15, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
                Err("a number that makes no sense"),
            ),
            (&[0x1C; 40], Err("it is nested too deep")),
            (&[0x1D, 0], Err("a type that there is not")),
        ] {
            assert_eq!(skip_struct(bytes), expected, "{bytes:?}");
        }
    }
}
