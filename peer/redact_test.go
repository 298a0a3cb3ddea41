package peer

import (
	"slices"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for _, c := range []struct{ command, want string }{
		{"vllm bench serve --base-url {target} --num-prompts 10", ""},
		{"guidellm --data prompt_tokens=256,output_tokens=128 --tokenizer t --request-token-count 5", ""},
		{"aiperf --api-key sk-1 --url {target}", "aiperf --api-key [redacted] --url {target}"},
		{"aiperf --api-key=sk-1", "aiperf --api-key=[redacted]"},
		{"tool -H X-Key:1 -c 5", "tool -H [redacted] -c 5"},
		{"tool --openai_api_key sk-1", "tool --openai_api_key [redacted]"},
		{"vllm --header A=1 B=2 --rate 5", "vllm --header [redacted] [redacted] --rate 5"},
		{`guidellm --backend-kwargs {"api_key":"sk-1"}`, "guidellm --backend-kwargs [redacted]"},
		{`guidellm --other={"api_key":"sk-1","n":2}`, `guidellm --other={"api_key":"[redacted]","n":2}`},
		{"env OPENAI_API_KEY=sk-1 HF_TOKEN=hf-1 tool", "env OPENAI_API_KEY=[redacted] HF_TOKEN=[redacted] tool"},
		{"tool http://me:pw@host/v1", "tool http://[redacted]@host/v1"},
	} {
		want := c.want
		if want == "" {
			want = c.command
		}
		if got := strings.Join(redact(strings.Fields(c.command)), " "); got != want {
			t.Errorf("%s: got %s, want %s", c.command, got, want)
		}
	}
	script := []string{"sh", "-c", `curl -H "Authorization: Bearer sk-1" -d @x; API_KEY='sk-2' tool`}
	want := []string{"sh", "-c", `curl -H "Authorization: Bearer [redacted]" -d @x; API_KEY='[redacted]' tool`}
	if got := redact(script); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A key does not stay, whatever stands around it.
func FuzzRedact(f *testing.F) {
	f.Add("--api-key", "", " ")
	f.Add("-H", "X-Key: ", "")
	f.Add("--headers", "a=1", "b")
	const canary = "sk-canary-0123456789"
	f.Fuzz(func(t *testing.T, flag, before, after string) {
		name := flagName(flag)
		if !secretName.MatchString(name) || strings.Contains(flag+before+after, "canary") {
			return
		}
		args := []string{"tool", "--" + name, before + canary + after, "--" + name + "=" + before + canary + after}
		if flagName(args[2]) != "" { // it would be a flag of its own
			args[2] = canary
		}
		for i, arg := range redact(args) {
			if strings.Contains(arg, canary) {
				t.Errorf("%q became %q", args[i], arg)
			}
		}
	})
}
