package arrow

// kind is the type of a column, by its number in Arrow's Schema.fbs.
type kind byte

const (
	kindNull            kind = 1
	kindInt             kind = 2
	kindFloat           kind = 3
	kindBinary          kind = 4
	kindUtf8            kind = 5
	kindBool            kind = 6
	kindDecimal         kind = 7
	kindDate            kind = 8
	kindTime            kind = 9
	kindTimestamp       kind = 10
	kindInterval        kind = 11
	kindList            kind = 12
	kindStruct          kind = 13
	kindFixedSizeBinary kind = 15
	kindFixedSizeList   kind = 16
	kindMap             kind = 17
	kindDuration        kind = 18
	kindLargeBinary     kind = 19
	kindLargeUtf8       kind = 20
	kindLargeList       kind = 21
	kindBinaryView      kind = 23
	kindUtf8View        kind = 24
)

// unread are the types that are not read.
var unread = map[kind]string{14: "union", 22: "run-end encoded", 25: "list view", 26: "large list view"}

// field describes a column.
type field struct {
	name     string
	kind     kind
	width    int64 // of a value in bytes; of a fixed-size list in elements
	signed   bool
	children []*field

	isDictionary bool // its values are indices of a dictionary
	dictionary   int64
	indexWidth   int64
	indexSigned  bool
}

// What no file of data has, but a hostile one may.
const (
	deepest    = 64
	mostFields = 10_000
)

// schema reads the columns of a file.
type schema struct {
	fields       []*field
	dictionaries map[int64]*field // the fields with a dictionary, by its identifier
	count        int
}

func readSchema(t table) *schema {
	if t.number(0, 2, 0) != 0 {
		fail("its numbers are big-endian, which is not read")
	}
	s := &schema{dictionaries: map[int64]*field{}}
	for _, f := range t.tables(1) {
		s.fields = append(s.fields, s.field(f, 0))
	}
	if len(s.fields) == 0 {
		fail("it has no columns")
	}
	return s
}

func (s *schema) field(t table, depth int) *field {
	if s.count++; depth > deepest || s.count > mostFields {
		fail("columns of more than %d levels, or more than %d", deepest, mostFields)
	}
	f := &field{name: t.text(0), kind: kind(t.number(2, 1, 0))}
	of, _ := t.table(3)
	f.ofType(of)
	for _, child := range t.tables(5) {
		f.children = append(f.children, s.field(child, depth+1))
	}
	lists := f.kind == kindList || f.kind == kindLargeList || f.kind == kindFixedSizeList || f.kind == kindMap
	if lists && len(f.children) != 1 {
		fail("column %q is a list of %d columns", f.name, len(f.children))
	}
	if d, ok := t.table(4); ok {
		f.isDictionary, f.dictionary = true, d.number(0, 8, 0)
		f.indexWidth, f.indexSigned = 4, true
		if index, ok := d.table(1); ok {
			f.indexWidth, f.indexSigned = wholeBytes(index.number(0, 4, 0)), index.number(1, 1, 0) != 0
		}
		s.dictionaries[f.dictionary] = f
	}
	return f
}

// ofType reads what a type says beside its name.
func (f *field) ofType(t table) {
	if name, known := unread[f.kind]; known || f.kind == 0 || f.kind > 26 {
		fail("column %q has the type %d (%s), which is not read: leave it out, or save the data as Parquet", f.name,
			f.kind, name)
	}
	if t.data == nil {
		fail("column %q has no type", f.name)
	}
	switch f.kind {
	case kindInt:
		f.width, f.signed = wholeBytes(t.number(0, 4, 0)), t.number(1, 1, 0) != 0
	case kindFloat:
		f.width = 2 << t.number(0, 2, 0)
		if f.width != 2 && f.width != 4 && f.width != 8 {
			fail("column %q has numbers of %d bytes", f.name, f.width)
		}
	case kindDecimal:
		f.width = t.number(2, 4, 128) / 8
	case kindDate:
		f.width, f.signed = 4<<(t.number(0, 2, 1)&1), true
	case kindTime:
		f.width, f.signed = wholeBytes(t.number(1, 4, 32)), true
	case kindTimestamp, kindDuration:
		f.width, f.signed = 8, true
	case kindInterval:
		f.width = 4 << (t.number(0, 2, 0) & 3)
	case kindFixedSizeBinary, kindFixedSizeList:
		f.width = t.number(0, 4, 0)
	}
	if f.width < 0 {
		fail("column %q has values of %d bytes", f.name, f.width)
	}
}

func wholeBytes(bits int64) int64 {
	switch bits {
	case 8, 16, 32, 64:
		return bits / 8
	}
	fail("whole numbers of %d bits", bits)
	return 0
}
