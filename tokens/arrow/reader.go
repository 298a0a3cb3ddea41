// Package arrow reads the rows of Arrow IPC files: the stream form, which Hugging Face's datasets write, and the random
// access form. Formats are those of Arrow's Message.fbs, Schema.fbs and File.fbs.
//
//	reader.go      messages, batches of rows, dictionaries, compression
//	schema.go      the columns and their types
//	column.go      the values of a column, as text or JSON
//	flatbuffer.go  the encoding of the messages
//
// What a file says of its sizes is not believed: a broken or hostile one is an error, and takes no more memory than its
// own size allows.
package arrow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/openloop/openloop/internal/infile"
)

// magic begins a file of the random access form. A stream follows it, and behind that stands what finds its parts.
const magic = "ARROW1\x00\x00"

// Reader reads a file from its start to its end, a batch of rows at a time.
type Reader struct {
	input io.Reader
	left  int64 // bytes of the input
	limit int64 // how much may be unpacked of all
	taken int64 // … and was

	schema       *schema
	dictionaries map[int64][]*Column
	zstd         *zstd.Decoder
}

// Batch is some rows. It is valid until the next one is read.
type Batch struct {
	Rows    int
	Columns []*Column
}

// NewReader reads the columns of a file of so many bytes.
func NewReader(input io.Reader, size int64) (r *Reader, err error) {
	defer rescue(&err)
	r = &Reader{left: size, limit: 64<<20 + infile.Times*size, dictionaries: map[int64][]*Column{}}
	var start [len(magic)]byte
	n, err := io.ReadFull(input, start[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if r.input = input; string(start[:]) != magic {
		r.input = io.MultiReader(bytes.NewReader(start[:n]), input)
	} else {
		r.left -= int64(n)
	}
	kind, header, _, err := r.message()
	if errors.Is(err, io.EOF) || err == nil && kind != messageSchema {
		return nil, broken("it does not begin with a schema")
	}
	if err != nil {
		return nil, err
	}
	r.schema = readSchema(header)
	return r, nil
}

// Next returns the next batch, io.EOF behind the last.
func (r *Reader) Next() (batch *Batch, err error) {
	defer rescue(&err)
	for {
		kind, header, body, err := r.message()
		if err != nil {
			return nil, err
		}
		switch kind {
		case messageDictionary:
			r.dictionary(header, body)
		case messageBatch:
			b := r.batch(header, body, r.schema.fields)
			rows := header.number(0, 8, 0)
			if most := 1000 + infile.Times*int64(len(body)); rows < 0 || rows > most { // nulls take no room
				fail("a batch of %d rows in %d bytes", rows, len(body))
			}
			for _, c := range b {
				if c.length != rows {
					fail("column %q has %d values in a batch of %d rows", c.of.name, c.length, rows)
				}
			}
			return &Batch{Rows: int(rows), Columns: b}, nil
		}
	}
}

// The kinds of messages.
const (
	messageSchema     = 1
	messageDictionary = 2
	messageBatch      = 3
)

// message reads the next message: its header, and what follows it.
func (r *Reader) message() (kind int64, header table, body []byte, err error) {
	length, err := r.length()
	if err != nil {
		return 0, table{}, nil, err
	}
	if length == 0 {
		return 0, table{}, nil, io.EOF
	}
	meta := root(r.read(length))
	body = r.read(meta.number(3, 8, 0))
	header, ok := meta.table(2)
	if !ok {
		fail("a message without a header")
	}
	return meta.number(1, 1, 0), header, body, nil
}

// length reads how long the next message's header is; io.EOF where the file ends.
func (r *Reader) length() (int64, error) {
	var b [4]byte
	n, err := io.ReadFull(r.input, b[:])
	r.left -= int64(n)
	if errors.Is(err, io.EOF) {
		return 0, io.EOF
	}
	if err == nil && binary.LittleEndian.Uint32(b[:]) == 0xffffffff { // files of before 2019 lack this mark
		n, err = io.ReadFull(r.input, b[:])
		r.left -= int64(n)
	}
	if err != nil {
		return 0, cutOff(err)
	}
	return int64(binary.LittleEndian.Uint32(b[:])), nil
}

// read reads so many bytes.
func (r *Reader) read(n int64) []byte {
	if n < 0 || n > r.left {
		fail("it is cut off: a message of %d bytes, with %d left", n, r.left)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.input, b); err != nil {
		fail("%v", cutOff(err))
	}
	r.left -= n
	return b
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return broken("it is cut off")
	}
	return err
}

// dictionary takes the values of a dictionary, or some that are added to it.
func (r *Reader) dictionary(header table, body []byte) {
	id := header.number(0, 8, 0)
	indexed, ok := r.schema.dictionaries[id]
	data, has := header.table(1)
	if !ok || !has {
		fail("a dictionary %d, which no column has", id)
	}
	of := *indexed
	of.isDictionary = false
	values := r.batch(data, body, []*field{&of})
	if isDelta := header.number(2, 1, 0) != 0; isDelta {
		r.dictionaries[id] = append(r.dictionaries[id], values...)
	} else {
		r.dictionaries[id] = values
	}
}

// batch is a batch of columns that is being read.
type batch struct {
	reader           *Reader
	header           table
	body             []byte
	codec            int64 // none
	nodes, nodeCount int64
	buffers, count   int64
	views, viewCount int64
}

// The codecs of buffers.
const (
	codecNone = -1
	codecLZ4  = 0
	codecZstd = 1
)

func (r *Reader) batch(header table, body []byte, fields []*field) (columns []*Column) {
	b := &batch{reader: r, header: header, body: body, codec: codecNone}
	b.nodes, b.nodeCount = header.vector(1, 16)
	b.buffers, b.count = header.vector(2, 16)
	b.views, b.viewCount = header.vector(4, 8)
	if compression, ok := header.table(3); ok {
		b.codec = compression.number(0, 1, codecLZ4)
	}
	for _, f := range fields {
		columns = append(columns, b.column(f))
	}
	return columns
}

func (b *batch) column(f *field) *Column {
	c := &Column{of: f, reader: b.reader}
	if b.nodeCount--; b.nodeCount < 0 {
		fail("a batch without a node for column %q", f.name)
	}
	c.length = i64(b.header.data, b.nodes)
	b.nodes += 16
	if f.kind == kindNull && !f.isDictionary {
		return c
	}
	if c.valid = b.buffer(); len(c.valid) == 0 {
		c.valid = nil
	}
	if f.isDictionary {
		c.data = b.buffer()
		return c
	}
	switch f.kind {
	case kindUtf8, kindBinary, kindLargeUtf8, kindLargeBinary:
		c.offsets, c.data = b.buffer(), b.buffer()
	case kindUtf8View, kindBinaryView:
		c.offsets = b.buffer()
		if b.viewCount--; b.viewCount < 0 {
			fail("column %q: how many buffers it has is not said", f.name)
		}
		for n := i64(b.header.data, b.views); n > 0; n-- {
			c.further = append(c.further, b.buffer())
		}
		b.views += 8
	case kindList, kindLargeList, kindMap:
		c.offsets = b.buffer()
	case kindStruct, kindFixedSizeList:
	default:
		c.data = b.buffer()
	}
	for _, child := range f.children {
		c.children = append(c.children, b.column(child))
	}
	return c
}

// buffer is the next buffer of the batch, unpacked.
func (b *batch) buffer() []byte {
	if b.count--; b.count < 0 {
		fail("a batch with too few buffers")
	}
	data := cut(b.body, i64(b.header.data, b.buffers), i64(b.header.data, b.buffers+8))
	b.buffers += 16
	if b.codec == codecNone || len(data) == 0 {
		return data
	}
	size := i64(data, 0)
	if data = data[8:]; size == -1 { // it was not worth packing
		return data
	}
	return b.reader.unpack(data, size, b.codec)
}

func (r *Reader) unpack(data []byte, size, codec int64) []byte {
	if r.taken += size; size < 0 || r.taken > r.limit || r.taken < 0 {
		fail("what is packed in it is larger than %d MB, the limit for a file of its size", r.limit>>20)
	}
	text := make([]byte, 0, size)
	var err error
	switch codec {
	case codecZstd:
		if r.zstd == nil {
			r.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
				zstd.WithDecoderMaxMemory(uint64(r.limit)))
			if err != nil {
				fail("zstd: %v", err)
			}
		}
		text, err = r.zstd.DecodeAll(data, text)
	case codecLZ4:
		text = text[:size]
		_, err = io.ReadFull(lz4.NewReader(bytes.NewReader(data)), text)
	default:
		fail("it is packed in a way that is not known (%d)", codec)
	}
	if err != nil || int64(len(text)) != size {
		fail("a buffer of %d bytes can't be unpacked: %v", size, err)
	}
	return text
}
