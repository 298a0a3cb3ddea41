package llmsim

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The truth names prompts and connections, so that a client's repetitions and its reuse of connections can be seen.
func TestTruthOfPromptsAndConnections(t *testing.T) {
	s, err := NewServer(Config{Fixed: true, TruthPrompts: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("one two three four ", 40)
	for _, prompt := range []string{long, long + "five", long, "another"} {
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: prompt == "another"}}
		resp, err := c.Post(s.URL()+"/v1/completions", "application/json",
			strings.NewReader(fmt.Sprintf(`{"prompt":%q,"max_tokens":3,"ignore_eos":true}`, prompt)))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		c.CloseIdleConnections()
	}
	waitUntil(t, "all requests are recorded", func() bool { return len(s.Truth()) == 4 })
	r := s.Truth()
	if r[0].Prompt == "" || r[0].Prompt != r[2].Prompt || r[0].Prompt == r[1].Prompt || r[0].Prompt == r[3].Prompt {
		t.Errorf("prompts are named %s, %s, %s, %s", r[0].Prompt, r[1].Prompt, r[2].Prompt, r[3].Prompt)
	}
	if r[0].Repeated != 0 || r[1].Repeated < 140 || r[2].Repeated < 140 || r[3].Repeated != 0 {
		t.Errorf("repeated tokens: %d, %d, %d, %d of about 160", r[0].Repeated, r[1].Repeated, r[2].Repeated,
			r[3].Repeated)
	}
	for i := range r {
		if r[i].Connection != uint64(i+1) || r[i].AskedTokens != 3 {
			t.Errorf("request %d: connection %d, %d tokens asked", i, r[i].Connection, r[i].AskedTokens)
		}
	}
	if n := s.Connections(); n != 4 {
		t.Errorf("%d connections were accepted, want 4", n)
	}
}

// An engine cannot begin before it has the whole request: a body that comes late makes the request late.
func TestReadIsTheEndOfTheRequest(t *testing.T) {
	s, err := NewServer(Config{Fixed: true, TTFT: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const body = `{"prompt":"one","max_tokens":2,"ignore_eos":true}`
	fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(body))
	waitUntil(t, "the handler runs", func() bool { return s.active.Load() == 1 })
	const later = 30 * time.Millisecond
	time.Sleep(later)
	fmt.Fprint(c, body)
	waitUntil(t, "the request is recorded", func() bool { return len(s.Truth()) == 1 })
	r := s.Truth()[0]
	// Elsewhere than on Linux there is no stamp, and the request counts from its header.
	if d := time.Duration(r.Read - r.Handled); d < later && runtime.GOOS == "linux" {
		t.Errorf("the request was read %v after its handler began, want %v or more", d, later)
	}
	if r.FirstToken-r.Read < int64(time.Millisecond) {
		t.Errorf("the first token came %v after the request", time.Duration(r.FirstToken-r.Read))
	}
}
