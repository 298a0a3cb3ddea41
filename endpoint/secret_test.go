package endpoint

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
)

func TestSecretIsNeverShown(t *testing.T) {
	s := NewSecret("sk-canary")
	held := struct {
		S Secret
		P *Secret
	}{s, &s}
	text, err := json.Marshal(held)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", held, held, held), string(text),
		fmt.Errorf("%w, %v", fmt.Errorf("%s", s), s).Error(), fmt.Sprint(Header{"Authorization", s}),
		fmt.Sprintf("%#v", Config{Headers: []Header{{"Authorization", s}}}),
	} {
		if NewRedactor(s).Redact(shown) != shown ||
			NewRedactor(NewSecret(fmt.Sprintf("%x", "sk-canary"))).Redact(shown) != shown {
			t.Errorf("%s", shown)
		}
	}
	if s.Reveal() != "sk-canary" || s.IsEmpty() || !(Secret{}).IsEmpty() || (Secret{}).String() != "" {
		t.Error("the secret is lost, or the empty one is shown")
	}
}

func TestRedactor(t *testing.T) {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("name:pa!ss word"))
	key := "Basic " + base64.StdEncoding.EncodeToString([]byte("sk-as-name:"))
	r := NewRedactor(NewSecret("Bearer sk-canary"), NewSecret("sk-canary-longer"), NewSecret(basic), NewSecret(key),
		NewSecret("abc"), Secret{})
	for in, want := range map[string]string{
		"":                              "",
		"nothing in it":                 "nothing in it",
		"key sk-canary is wrong":        "key [redacted] is wrong",
		"Bearer sk-canary":              "[redacted]",
		"sk-canary-longer":              "[redacted]", // the longest first
		"sk-canarysk-canary":            "[redacted][redacted]",
		"name:pa!ss word":               "[redacted]",
		"pa!ss word":                    "[redacted]",
		basic:                           "[redacted]",
		basic[len("Basic "):]:           "[redacted]",
		"no sk-as-name":                 "no [redacted]",
		"abc is too short to be looked": "abc is too short to be looked",
	} {
		if got := r.Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
	if got := (Redactor{}).Redact("sk-canary"); got != "sk-canary" {
		t.Errorf("the zero value changes %q", got)
	}
}
