package cli

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/spec"
)

// What is secret is in nothing that is printed or saved, however it was given, and goes to the endpoint where it is for
// it.
func TestSecrets(t *testing.T) {
	const canary = "sk-canary-0123456789"
	scenario := writeFile(t, "s.yaml", `
target: http://me:`+canary+`@h:1
data: ["prompt_tokens=3,output_tokens=2"]
profile: synchronous
processor_args: {token: `+canary+`}
data_request_formatter: {request_type: text_completions, extras: {headers: {X-Key: `+canary+`}}}
`)
	with := func(more ...string) []string {
		return append(words(baseLine+" --profile synchronous --max-requests 1"), more...)
	}
	header := `{"extras":{"headers":{"authorization":"Bearer ` + canary + `"}}}`
	for _, test := range []struct {
		args []string
		env  map[string]string
		sent string // header, with the value that is revealed to the endpoint
	}{
		{args: with("--target", "http://me:"+canary+"@h:1"), sent: "Authorization: Basic "},
		{args: with("--target=http://me:" + canary + "@h:1/v1/"), sent: "Authorization: Basic "},
		{args: with("--target", "http://"+canary+":@h:1"), sent: "Authorization: Basic "},
		{args: with("-c", scenario, "--target", "http://h:1"), sent: "X-Key: " + canary},
		{args: []string{"-c", scenario}, sent: "Authorization: Basic "},
		{
			args: words("--data prompt_tokens=3,output_tokens=2 --profile synchronous"),
			env:  map[string]string{"GUIDELLM_TARGET": "http://me:" + canary + "@h:1"}, sent: "Authorization: Basic ",
		},
		{args: with("--request-formatter-kwargs", header), sent: "Authorization: Bearer " + canary},
		{args: with("--request-formatter-kwargs=" + header), sent: "Authorization: Bearer " + canary},
		{
			args: with(), env: map[string]string{"GUIDELLM_REQUEST_FORMATTER_KWARGS": header},
			sent: "Authorization: Bearer " + canary,
		},
		{args: with("--target", "http://me:pw@h:1", "--request-formatter-kwargs", header),
			sent: "Authorization: Bearer " + canary}, // a header goes over the target
		{args: with("--processor-args", "token="+canary)},
		{args: with("--dataloader-kwargs", `{"a":["`+canary+`",{"b":"`+canary+`"}]}`)},
		{args: with("--data-args", `{"resolve_split":"`+canary+`"}`)},
		{args: with("--backend-kwargs", `{"validate_backend":{"url":"http://me:`+canary+`@h/"},"verify":true}`)},
		{args: with("--backend-kwargs", "validate_backend="+canary)},
		{args: with("--backend-kwargs", `{"api_routes":{"x":"`+canary+`"}}`)},
		{args: with("--processor", "http://me:"+canary+"@h/t.json")},
		{args: with(), env: map[string]string{"GUIDELLM__OPENAI__API_KEY": canary}},
	} {
		c, err := read(test.args, test.env)
		if err != nil {
			t.Errorf("%q: %v", test.args, err)
			continue
		}
		saved, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		basic := base64.StdEncoding.EncodeToString([]byte("me:" + canary))
		for _, shown := range []string{string(saved), fmt.Sprintf("%v %+v %#v %q", c, c.Spec, c.Args, c.Notes)} {
			if strings.Contains(shown, canary) || strings.Contains(shown, basic) {
				t.Errorf("%q: the secret is shown: %s", test.args, shown)
			}
		}
		if test.sent != "" && !strings.Contains(strings.Join(headers(c), "\n"), test.sent) {
			t.Errorf("%q: headers %q, want %s", test.args, headers(c), test.sent)
		}
	}

	for _, args := range [][]string{
		with("--backend-kwargs", "api_key="+canary),
		with("--backend-kwargs", `{"api_key":"`+canary+`"}`),
		with("--backend-kwargs", canary),
		with("--backend-kwargs", "a=b,"+canary),
		with("--backend-kwargs", "{"+canary),
		with("--backend-kwargs", "verify="+canary),
		with("--backend-kwargs", "timeout="+canary),
		with("--backend-kwargs", `{"api_routes":{"models":"`+canary+`"}}`),
		with("--request-formatter-kwargs", canary),
		with("--request-formatter-kwargs", "extras="+canary),
		with("--request-formatter-kwargs", `{"extras":{"headers":"`+canary+`"}}`),
		with("--request-formatter-kwargs", `{"extras":{"headers":{"a":["`+canary+`"]}}}`),
		with("--request-formatter-kwargs", `{"extras":{"body":"`+canary+`"}}`),
		with("--request-formatter-kwargs", `{"max_tokens":"`+canary+`"}`),
		with("--processor-args", canary),
		with("--target", "me:"+canary+"@h:1"),
		with("--target", "http://"+canary+"@h:1"),
		with("--target", "http://me:"+canary+"@h:1?q"),
		with("--target", "http://me:"+canary+"\x7f@h:1"),
		{"--target", "http://h:1", "--data", "http://me:" + canary + "@h/r.jsonl"},
		{"--target", "http://h:1", "--data", "http://me:a=" + canary + ",b@h/r.jsonl"},
		with("--scenario", "http://me:"+canary+"@h/s.json"),
	} {
		if _, err := read(args, nil); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: want an error without the secret: %v", args, err)
		}
	}
}

// A header of openloop's own flags goes over the name and password of the target, and neither changes what it was
// given.
func TestBase(t *testing.T) {
	base := spec.Spec{}
	own := endpoint.Header{Name: "authorization", Value: endpoint.NewSecret("own")}
	base.Endpoint.Headers = append(make([]endpoint.Header, 0, 4), own)
	base.Endpoint.Insecure, base.Limits.MaxConcurrency = true, 8
	parse := func(line string) (*Command, error) {
		set := pflag.NewFlagSet("benchmark run", pflag.ContinueOnError)
		AddFlags(set)
		if err := set.Parse(words(line)); err != nil {
			return nil, err
		}
		return Parse(set, words(line), func(string) string { return "" }, base)
	}
	line := baseLine + " --target http://me:pw@h:1 --backend-kwargs verify=true --profile concurrent --rate "
	c, err := parse(line + "8")
	if err != nil {
		t.Fatal(err)
	}
	if got := headers(c); len(got) != 1 || got[0] != "authorization: own" || !c.Spec.Endpoint.Insecure {
		t.Errorf("headers %q, insecure %v", got, c.Spec.Endpoint.Insecure)
	}
	_, err = parse(line + "9")
	if err == nil || err.Error() != "--rate 9: more streams than --max-concurrency 8 allows" {
		t.Errorf("more streams than may be in flight: %v", err)
	}
	if c.Args.BackendKwargs.(guidellm.Object).Get("verify") != "true" {
		t.Errorf("settings %v", c.Args.BackendKwargs)
	}
}
