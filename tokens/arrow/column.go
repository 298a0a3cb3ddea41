package arrow

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Column is a column of a batch.
type Column struct {
	of     *field
	reader *Reader // that has the dictionaries

	valid    []byte // a bit a value; nil: all are there
	offsets  []byte // of texts and lists; the views of texts
	data     []byte
	further  [][]byte // what views are of
	children []*Column
	length   int64
}

// Name is the column's.
func (c *Column) Name() string { return c.of.name }

// Value is that of a row: nil for none, a string of texts and bytes, else JSON of at most so many bytes or a bit more.
func (c *Column) Value(row, most int) (value any, err error) {
	defer rescue(&err)
	at, i := c.stored(int64(row))
	if at.isNull(i) {
		return nil, nil
	}
	if text, ok := at.text(i); ok {
		return string(text), nil
	}
	return json.RawMessage(at.append(nil, i, most)), nil
}

// stored is where a value really stands: in a dictionary, where the column has one.
func (c *Column) stored(i int64) (*Column, int64) {
	if i < 0 || i >= c.length {
		fail("column %q: value %d of %d", c.of.name, i, c.length)
	}
	if !c.of.isDictionary || c.isNull(i) {
		return c, i
	}
	index := whole(c.data, i, c.of.indexWidth, c.of.indexSigned)
	at := index
	for _, part := range c.reader.dictionaries[c.of.dictionary] {
		if at >= 0 && at < part.length {
			return part, at
		}
		at -= part.length
	}
	fail("column %q: its dictionary has no value %d", c.of.name, index)
	return nil, 0
}

func (c *Column) isNull(i int64) bool {
	if c.of.kind == kindNull {
		return true
	}
	return c.valid != nil && cut(c.valid, i/8, 1)[0]>>(i%8)&1 == 0
}

// text is a value of texts or bytes.
func (c *Column) text(i int64) ([]byte, bool) {
	switch c.of.kind {
	case kindUtf8, kindBinary, kindLargeUtf8, kindLargeBinary:
		from, to := c.span(i)
		return cut(c.data, from, to-from), true
	case kindFixedSizeBinary:
		return cut(c.data, i*c.of.width, c.of.width), true
	case kindUtf8View, kindBinaryView:
		view := cut(c.offsets, 16*i, 16)
		n := i32(view, 0)
		if n <= 12 { // the text stands in the view itself
			return cut(view, 4, n), true
		}
		part := i32(view, 8)
		if part < 0 || part >= int64(len(c.further)) {
			fail("column %q: a view of part %d of %d", c.of.name, part, len(c.further))
		}
		return cut(c.further[part], i32(view, 12), n), true
	}
	return nil, false
}

// span is where the parts of a text or a list begin and end.
func (c *Column) span(i int64) (from, to int64) {
	switch c.of.kind {
	case kindFixedSizeList:
		return i * c.of.width, (i + 1) * c.of.width
	case kindLargeUtf8, kindLargeBinary, kindLargeList:
		return i64(c.offsets, 8*i), i64(c.offsets, 8*i+8)
	}
	return i32(c.offsets, 4*i), i32(c.offsets, 4*i+4)
}

// append appends a value as JSON. Fields of a struct that are null are left out: in a column of structs all have the
// same fields, and those that a message did not have are null.
func (c *Column) append(dst []byte, i int64, most int) []byte {
	if len(dst) > most {
		fail("column %q: a value of more than %d MB, the limit", c.of.name, most>>20)
	}
	c, i = c.stored(i)
	if c.isNull(i) {
		return append(dst, "null"...)
	}
	if text, ok := c.text(i); ok {
		dst, _ = jsontext.AppendQuote(dst, text) // what is not UTF-8 becomes U+FFFD
		return dst
	}
	switch c.of.kind {
	case kindList, kindLargeList, kindFixedSizeList, kindMap:
		dst = append(dst, '[')
		from, to := c.span(i)
		for k := from; k < to; k++ {
			if k > from {
				dst = append(dst, ',')
			}
			dst = c.children[0].append(dst, k, most)
		}
		return append(dst, ']')
	case kindStruct:
		dst = append(dst, '{')
		first := true
		for _, child := range c.children {
			at, k := child.stored(i)
			if at.isNull(k) {
				continue
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst, _ = jsontext.AppendQuote(dst, at.of.name)
			dst = at.append(append(dst, ':'), k, most)
		}
		return append(dst, '}')
	case kindBool:
		return strconv.AppendBool(dst, cut(c.data, i/8, 1)[0]>>(i%8)&1 != 0)
	case kindFloat:
		return c.appendFloat(dst, i)
	case kindInt, kindDate, kindTime, kindTimestamp, kindDuration:
		n := whole(c.data, i, c.of.width, c.of.signed)
		if c.of.signed {
			return strconv.AppendInt(dst, n, 10)
		}
		return strconv.AppendUint(dst, uint64(n), 10)
	}
	return append(dst, "null"...) // decimals, intervals: no request has them
}

// appendFloat appends a number. What JSON has no number for is null.
func (c *Column) appendFloat(dst []byte, i int64) []byte {
	var raw []byte
	var err error
	switch bits := whole(c.data, i, c.of.width, false); c.of.width {
	case 4:
		raw, err = json.Marshal(math.Float32frombits(uint32(bits)))
	case 8:
		raw, err = json.Marshal(math.Float64frombits(uint64(bits)))
	default:
		raw, err = json.Marshal(half(uint16(bits)))
	}
	if err != nil {
		return append(dst, "null"...)
	}
	return append(dst, raw...)
}

// half is a number of 16 bits: a sign, an exponent of five and a fraction of ten.
func half(bits uint16) float64 {
	exponent, fraction := int(bits>>10&31), float64(bits&1023)/1024
	value := math.Ldexp(1+fraction, exponent-15)
	switch exponent {
	case 0:
		value = math.Ldexp(fraction, -14)
	case 31:
		value = math.Inf(1)
		if fraction != 0 {
			return math.NaN()
		}
	}
	if bits>>15 == 1 {
		return -value
	}
	return value
}

// whole is a whole number of a buffer.
func whole(data []byte, i, width int64, signed bool) int64 {
	b := cut(data, i*width, width)
	n := int64(0)
	for k := range width {
		n |= int64(b[k]) << (8 * k)
	}
	if shift := 64 - 8*width; signed {
		n = n << shift >> shift
	}
	return n
}
