package endpoint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

var testSecretFlags = []string{"api-key", "header", "backend-kwargs"}

func TestRedactCommand(t *testing.T) {
	for _, test := range []struct{ args, want []string }{
		{nil, []string{}},
		{[]string{"--target", "http://h:1/v1", "--rate", "3"}, []string{"--target", "http://h:1/v1", "--rate", "3"}},
		{[]string{"--server-metrics", "http://h/x?token=k"}, []string{"--server-metrics", "http://h/x?[redacted]"}},
		{[]string{"--target=sim:fast?ttft=1ms"}, []string{"--target=sim:fast?ttft=1ms"}},
		{[]string{"--api-key", "k", "--rate", "3"}, []string{"--api-key", "[redacted]", "--rate", "3"}},
		{[]string{"-api-key", "k", "-header=k", "-H", "k"},
			[]string{"-api-key", "[redacted]", "-header=[redacted]", "-H", "k"}},
		{[]string{"--api-key=k", "--rate=3"}, []string{"--api-key=[redacted]", "--rate=3"}},
		{[]string{"--api-key-file", "k"}, []string{"--api-key-file", "k"}},
		{[]string{"--header", "--api-key", "x"}, []string{"--header", "[redacted]", "x"}},
		{[]string{"--header"}, []string{"--header"}},
		{[]string{"--header="}, []string{"--header=[redacted]"}},
		{[]string{"--backend-kwargs", "verify=true,api_key=k"}, []string{"--backend-kwargs", "[redacted]"}},
		{[]string{"--backend-kwargs=verify=true,api_key=k"}, []string{"--backend-kwargs=[redacted]"}},
		{[]string{`--backend-kwargs={"api_key":"k"}`}, []string{"--backend-kwargs=[redacted]"}},
		{[]string{"--backend-kwargs", `{"api_key":"k"}`}, []string{"--backend-kwargs", "[redacted]"}},
		{[]string{"--target", "http://me:pw@h:1"}, []string{"--target", "http://[redacted]@h:1"}},
		{[]string{"--target=https://me:p@w/x://@h:1"}, []string{"--target=https://[redacted]@h:1"}},
		{[]string{"http://me:pw@h", "http://token@h"}, []string{"http://[redacted]@h", "http://[redacted]@h"}},
		{[]string{"--server-metrics=http://a/,http://me:pw@h"}, []string{"--server-metrics=http://[redacted]@h"}},
		{[]string{"--gate", "slo@6", "--data", "me@h.jsonl"}, []string{"--gate", "slo@6", "--data", "me@h.jsonl"}},
	} {
		before := slices.Clone(test.args)
		if got := RedactCommand(test.args, testSecretFlags); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.args, got, test.want)
		}
		if !slices.Equal(test.args, before) {
			t.Errorf("%q was changed to %q", before, test.args)
		}
	}
}

// A secret is not printed, neither by itself nor as a part of something else, be it in a field that fmt can't ask.
func TestSecretIsNotPrinted(t *testing.T) {
	secret := NewSecret("sk-canary")
	hidden := struct {
		in    Secret
		list  []Secret
		named map[string]Secret
	}{secret, []Secret{secret}, map[string]Secret{"k": secret}}
	config := Config{Headers: []Header{{"k", secret}}}
	for _, v := range []any{secret, &secret, hidden, &hidden, []Secret{secret}, config} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, "canary") || strings.Contains(text, fmt.Sprintf("%x", "canary")) {
				t.Errorf("%s of a %T shows it: %s", verb, v, text)
			}
		}
	}
	if secret.Reveal() != "sk-canary" || secret.String() != "[redacted]" || (Secret{}).String() != "" {
		t.Errorf("revealed %q, shown %q, none shown as %q", secret.Reveal(), secret, Secret{})
	}
}

// The first Authorization counts, whatever the case of its name.
func TestAuthorize(t *testing.T) {
	var c Config
	c.Authorize(NewSecret(""))
	if c.Headers != nil {
		t.Errorf("an empty key became %v", c.Headers)
	}
	c.Headers = []Header{{"authorization", NewSecret("given")}}
	c.Authorize(NewSecret("Bearer key"))
	if len(c.Headers) != 1 || c.Headers[0].Value.Reveal() != "given" {
		t.Errorf("the header that was given became %v", c.Headers)
	}
	c = Config{Headers: []Header{{"X-Other", NewSecret("x")}}}
	c.Authorize(NewSecret("Bearer key"))
	if len(c.Headers) != 2 || c.Headers[1].Name != "Authorization" || c.Headers[1].Value.Reveal() != "Bearer key" {
		t.Errorf("the key became %v", c.Headers)
	}
}

// A secret does not survive, whatever stands around it and whichever way it came in.
func FuzzRedactCommand(f *testing.F) {
	for _, s := range []string{
		"", "=", ":", "@", "/", "://", "--", "--header", "--api-key=", " ", `{"a":"`, "a=b,c=", "%40", "\n",
	} {
		f.Add(s, s, s)
	}
	const canary = "sk-canary-0123456789"
	f.Fuzz(func(t *testing.T, before, inside, after string) {
		if strings.Contains(before+inside+after, "canary") {
			return
		}
		secret := inside + canary + inside
		var args []string
		for _, name := range testSecretFlags {
			args = append(args, "--"+name, secret, "--"+name+"="+secret, "--"+name, `{"api_key":"`+secret+`"}`,
				"--"+name+"=verify=true,api_key="+secret)
		}
		for _, url := range []string{"http://me:" + secret + "@" + after, "https://" + secret + "@" + after} {
			args = append(args, url, before+url, "--target="+url, "--target", url, "--data", before+"://"+after+" "+url)
		}
		for i, arg := range RedactCommand(args, testSecretFlags) {
			if strings.Contains(arg, canary) {
				t.Errorf("%q became %q, with the secret in it", args[i], arg)
			}
		}
	})
}
