package armor

import (
	"bytes"
	"compress/gzip"
	"io"
	"slices"
	"strings"
	"testing"
)

func written(t testing.TB, text []byte) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, func(w io.Writer) error { _, err := w.Write(text); return err }); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func unpacked(t testing.TB, packed []byte) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFind(t *testing.T) {
	one, two := written(t, []byte(`{"a":1}`)), written(t, []byte(strings.Repeat(`{"b":2}`, 1000)))
	key := "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
	for _, c := range []struct{ name, log, want string }{
		{"alone", one, `{"a":1}`},
		{"between lines of a log", "21:03:05 stage 1/3\n" + one + "saved x\n", `{"a":1}`},
		{"with the line ends of another system", strings.ReplaceAll(one, "\n", "\r\n"), `{"a":1}`},
		{"the last of two", one + "again\n" + two, strings.Repeat(`{"b":2}`, 1000)},
		{"other lines among its own", strings.Replace(two, "\n", "\nsaved /results/x: 1 file\n", 1),
			strings.Repeat(`{"b":2}`, 1000)},
		{"an end without a beginning", end + "\n" + one, `{"a":1}`},
		{"beside other blocks", key + one + key, `{"a":1}`},
		{"cut in the middle", "x\n" + two[:len(two)/2], ""},
		{"the second cut", one + two[:len(two)/2], `{"a":1}`},
		{"none", "21:03:05 stage 1/3\n", ""},
		{"empty", "", ""},
	} {
		packed, ok := Find([]byte(c.log))
		if ok != (c.want != "") {
			t.Errorf("%s: found: %v", c.name, ok)
		} else if ok && unpacked(t, packed) != c.want {
			t.Errorf("%s: another text", c.name)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add([]byte("-----BEGIN OPENLOOP REPORT-----\nAAAA\n-----END OPENLOOP REPORT-----\n"), []byte("{}"))
	f.Add([]byte("a log"), []byte(""))
	f.Fuzz(func(t *testing.T, log, text []byte) {
		Find(log)
		// Whatever stands before it, a report is found again.
		packed, ok := Find(slices.Concat(log, []byte("\n"), []byte(written(t, text))))
		if !ok || unpacked(t, packed) != string(text) {
			t.Fatal("it is not found, or another text")
		}
	})
}
