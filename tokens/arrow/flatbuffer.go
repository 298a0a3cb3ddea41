package arrow

import (
	"encoding/binary"
	"fmt"
)

// broken is what is wrong with a file. The parsing functions panic with it, so that not each access of each of them has
// an error of its own; those of the package's interface return it.
type broken string

func (b broken) Error() string { return string(b) }

func fail(format string, args ...any) { panic(broken(fmt.Sprintf(format, args...))) }

// rescue is deferred by functions of the interface.
func rescue(err *error) {
	switch p := recover().(type) {
	case nil:
	case broken:
		*err = p
	default:
		panic(p)
	}
}

// cut is n bytes of data from an offset on.
func cut(data []byte, at, n int64) []byte {
	if at < 0 || n < 0 || at > int64(len(data)) || n > int64(len(data))-at {
		fail("%d bytes from byte %d on of %d", n, at, len(data))
	}
	return data[at : at+n]
}

func u16(data []byte, at int64) int64 { return int64(binary.LittleEndian.Uint16(cut(data, at, 2))) }
func u32(data []byte, at int64) int64 { return int64(binary.LittleEndian.Uint32(cut(data, at, 4))) }
func i32(data []byte, at int64) int64 { return int64(int32(u32(data, at))) }
func i64(data []byte, at int64) int64 { return int64(binary.LittleEndian.Uint64(cut(data, at, 8))) }

// table is a table of a flatbuffer: at its place stands how far before it the offsets of its fields are.
type table struct {
	data []byte
	at   int64
}

// root is the table that a flatbuffer begins with.
func root(data []byte) table { return table{data, u32(data, 0)} }

// field is where a field's value is, 0 where it is not written.
func (t table) field(id int64) int64 {
	offsets := t.at - i32(t.data, t.at)
	if 4+2*id >= u16(t.data, offsets) {
		return 0
	}
	at := u16(t.data, offsets+4+2*id)
	if at == 0 {
		return 0
	}
	return t.at + at
}

// number is the value of a field that is a number of so many bytes.
func (t table) number(id int64, bytes int, otherwise int64) int64 {
	at := t.field(id)
	if at == 0 {
		return otherwise
	}
	switch bytes {
	case 1:
		return int64(cut(t.data, at, 1)[0])
	case 2:
		return int64(int16(u16(t.data, at)))
	case 4:
		return i32(t.data, at)
	}
	return i64(t.data, at)
}

func (t table) table(id int64) (table, bool) {
	at := t.field(id)
	if at == 0 {
		return table{}, false
	}
	return table{t.data, at + u32(t.data, at)}, true
}

// vector is the place of a vector's first element, and how many there are.
func (t table) vector(id, size int64) (at, n int64) {
	if at = t.field(id); at == 0 {
		return 0, 0
	}
	at += u32(t.data, at)
	n = u32(t.data, at)
	at += 4
	cut(t.data, at, n*size)
	return at, n
}

func (t table) text(id int64) string {
	at, n := t.vector(id, 1)
	return string(cut(t.data, at, n))
}

func (t table) tables(id int64) (all []table) {
	at, n := t.vector(id, 4)
	for ; n > 0; n-- {
		all = append(all, table{t.data, at + u32(t.data, at)})
		at += 4
	}
	return all
}
