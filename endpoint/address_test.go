package endpoint

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParseBase(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"http://host:8000", "http://host:8000/v1"},
		{"http://host:8000/", "http://host:8000/v1"},
		{"http://host:8000/v1", "http://host:8000/v1"},
		{"http://host:8000/v1///", "http://host:8000/v1"},
		{"http://host:8000/v1/chat/completions", "http://host:8000/v1"},
		{"http://host:8000/v1/completions/", "http://host:8000/v1"},
		{"https://gateway.example/openai", "https://gateway.example/openai/v1"},
		{"https://gateway.example/team/model/v1", "https://gateway.example/team/model/v1"},
		{"http://[::1]:8000", "http://[::1]:8000/v1"},
		{"HTTP://host", "http://host/v1"},
		{"http://me:pw@host:8000/v1", "http://host:8000/v1"},
	} {
		if got, _, err := ParseBase(test.in); err != nil || got.String() != test.want {
			t.Errorf("ParseBase(%q) = %q, %v; want %q", test.in, got, err, test.want)
		}
	}
	for in, want := range map[string]string{
		"":                           "has no scheme",
		"localhost:8000":             "write http://localhost:8000 or https://localhost:8000",
		"ftp://host":                 `has the scheme "ftp"`,
		"http://":                    "names no host",
		"http:///v1":                 "names no host",
		"http://host/v1?key=secret":  `"http://host/v1" is followed by a query or fragment`,
		"http://host/v1#secret":      "is followed by a query or fragment",
		"http://host:secret":         "what follows the colon is not a port",
		"http://me:secret%40host:80": "what follows the colon is not a port",
		"http://host:80%zz":          "is not a URL",
		"http//me:secret@h://x":      `has the scheme ""`,
		"http:/me:secret@host":       "write http://[redacted]@host",
		"http://ho st":               "is not a URL",
		"http://me:12/34secret@host": "has an @ after its host",
		"http://me:se/cret@host":     "is not a URL",
		"http://me?secret@host":      "has an @ after its host",
		"http://me#secret@host":      "has an @ after its host",
		"me:secret@host":             "write http://[redacted]@host",
		"me:secret":                  "write http://me:[redacted]",
		// A key in place of a name, and a login that is not escaped as a URL has it.
		"http://secret@host":      `"http://[redacted]@host": what stands before its @ is not NAME:PASSWORD`,
		"http://@host":            "what stands before its @ is not NAME:PASSWORD",
		"http://:@host":           "what stands before its @ is not NAME:PASSWORD",
		"http://me:%zzsecret@h":   "is not a URL: what stands before its @ is not NAME:PASSWORD",
		"http://me:a secret@h/v1": "is not a URL: what stands before its @ is not NAME:PASSWORD",
		"http://me:sec^ret@h ost": "is not a URL",
	} {
		got, secret, err := ParseBase(in)
		if err == nil || !strings.Contains(err.Error(), want) || !got.IsZero() || !secret.IsEmpty() {
			t.Errorf("ParseBase(%q) = %q, %v; want an error with %q", in, got, err, want)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "cret") {
			t.Errorf("%v", err)
		}
	}
}

func TestLogin(t *testing.T) {
	for in, want := range map[string]string{
		"http://host":                 "",
		"http://us%40er:pa%3Ass@host": "Basic dXNAZXI6cGE6c3M=",
		"http://token:@host":          "Basic dG9rZW46", // a key in place of a name, as some APIs want it
		"https://:password@host/x":    "Basic OnBhc3N3b3Jk",
	} {
		_, secret, err := ParseAddress(in)
		if err != nil || secret.Reveal() != want {
			t.Errorf("ParseAddress(%q) gives the login %q, %v; want %q", in, secret.Reveal(), err, want)
		}
	}
}

func TestAddress(t *testing.T) {
	a, _, err := ParseBase("https://me:pw@host:8000/team%20a/v1")
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Join("/models").String(); got != "https://host:8000/team%20a/v1/models" {
		t.Errorf("joined: %s", got)
	}
	if got := a.Root("/metrics").String(); got != "https://host:8000/metrics" {
		t.Errorf("root: %s", got)
	}
	if !a.IsTLS() || a.IsZero() || !(Address{}).IsZero() || (Address{}).String() != "" {
		t.Error("wrong about TLS or zero")
	}
	text, err := json.Marshal(map[string]Address{"a": a, "b": {}})
	if err != nil || string(text) != `{"a":"https://host:8000/team%20a/v1","b":""}` {
		t.Errorf("%s, %v", text, err)
	}
	var back map[string]Address
	if err := json.Unmarshal(text, &back); err != nil || back["a"].String() != a.String() || !back["b"].IsZero() {
		t.Errorf("read back: %v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"a":"http://me:hidden@host/"}`), &back); err != nil ||
		back["a"].String() != "http://host/" {
		t.Errorf("read: %v, %v", back, err)
	}
}

// FuzzAddress: whatever a URL looks like, what stands before its last @ is neither in the address nor in an error.
func FuzzAddress(f *testing.F) {
	for _, seed := range [][3]string{
		{"http://", "me:pw", "host/v1"}, {"https://", "me:p/w?#", "host:80"}, {"", "me:12/34", "h"},
		{"ftp://", "%zz", "h"}, {"http://", "a@b:c@d", "h/x"}, {"http://", "12/34", "host"},
		{"http://me:12", "/x?y", "host"}, {"http://[", "::1]", "h"},
		{"http://h/", "x", "y"}, {"http://", "a:\x00", "h"}, {"://", "x", "y"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, before, userinfo, after string) {
		const mark = "q7Zcanary"
		if strings.Contains(before+userinfo+after, "q7Z") || strings.Contains(after, "@") {
			return
		}
		for _, s := range []string{before + userinfo + mark + "@" + after, before + mark + userinfo + "@" + after} {
			for name, parse := range map[string]func(string) (Address, Secret, error){
				"ParseBase": ParseBase, "ParseAddress": ParseAddress,
			} {
				a, _, err := parse(s)
				text := a.String()
				if err != nil {
					text += err.Error()
				}
				// Before a scheme's end it is no userinfo: it is the scheme.
				if scheme, _, _ := strings.Cut(s, "://"); strings.Contains(strings.ToLower(text),
					strings.ToLower(mark)) &&
					!strings.Contains(scheme, mark) {
					t.Errorf("%s(%q) shows %q", name, s, text)
				}
				if err == nil {
					again, _, err := parse(text)
					if err != nil || again.String() != text {
						t.Errorf("%s(%q) gives %q, which is read as %q, %v", name, s, text, again, err)
					}
				}
			}
		}
	})
}
