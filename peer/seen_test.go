package peer

import (
	"math"
	"testing"
	"time"

	"github.com/openloop/openloop/llmsim"
)

var origin = time.Date(2026, 11, 24, 16, 0, 0, 0, time.UTC)

const ms = int64(time.Millisecond)

// request is the server's record of a request that came at so many ms, with a first token 30 ms later and one every 5.
func request(atMS int64, change func(*llmsim.Truth)) llmsim.Truth {
	r := llmsim.Truth{
		Read: atMS * ms, Wall: origin.Add(time.Duration(atMS * ms)), Stream: true, Status: 200, Outcome: "length",
		PromptTokens: 10, AskedTokens: 4, OutputTokens: 4, Connection: 1,
	}
	r.DueFirst, r.FirstToken = r.Read+30*ms, r.Read+31*ms
	for k := range int64(4) {
		r.Tokens = append(r.Tokens, r.FirstToken+k*5*ms)
	}
	r.LastToken, r.End = r.Tokens[3], r.Tokens[3]
	if change != nil {
		change(&r)
	}
	return r
}

func TestSee(t *testing.T) {
	requests := []llmsim.Truth{
		request(100, func(r *llmsim.Truth) { r.Prompt, r.Repeated = "a", 5 }), // out of order
		request(0, func(r *llmsim.Truth) { r.Prompt = "a" }),
		request(200, func(r *llmsim.Truth) { r.Prompt, r.Connection, r.Outcome = "b", 2, "abort" }),
		request(300, func(r *llmsim.Truth) { r.Prompt, r.Status, r.Outcome, r.Stream = "c", 503, "refused", false }),
		request(400, func(r *llmsim.Truth) { r.Prompt, r.Outcome, r.Stream = "old", "stop", false }),
	}
	s := see(byArrival(requests), map[string]bool{"old": true})
	if s.Requests != 5 || s.Completed != 3 || s.Abandoned != 1 || s.Failed != 1 || s.Unstreamed != 1 {
		t.Errorf("requests %d, completed %d, abandoned %d, failed %d, unstreamed %d", s.Requests, s.Completed,
			s.Abandoned, s.Failed, s.Unstreamed)
	}
	if s.TTFT50 != 31 || s.TTFT99 != 31 || s.ITLMean != 5 || s.ITL99 != 5 || s.RequestITL != 5 || s.ServerLate != 1 {
		t.Errorf("TTFT %v, %v; ITL %v, %v, a request %v; late %v", s.TTFT50, s.TTFT99, s.ITLMean, s.ITL99, s.RequestITL,
			s.ServerLate)
	}
	if s.RepeatedPrompts != 0.4 || s.RepeatedTokens != 0.1 || s.Connections != 2 {
		t.Errorf("repeated %v of the prompts, %v of the tokens; %d connections", s.RepeatedPrompts, s.RepeatedTokens,
			s.Connections)
	}
	if rate := float64(s.Arrivals.Rate); math.Abs(rate-10) > 1e-9 {
		t.Errorf("rate %v", rate)
	}
	if !s.Began.Equal(origin) || !s.Ended.Equal(origin.Add(400*time.Millisecond)) {
		t.Errorf("from %v to %v", s.Began, s.Ended)
	}
}

func TestWithoutTrials(t *testing.T) {
	load := func(from, n int64) (all []llmsim.Truth) {
		for i := range n {
			all = append(all, request(from+20*i, nil))
		}
		return all
	}
	paused := append(load(0, 100), load(5000, 100)...)
	for _, c := range []struct {
		name     string
		requests []llmsim.Truth
		claim    *StageClaim
		left     int
	}{
		{"none", nil, nil, 0},
		{"one", load(0, 1), nil, 1},
		{"no trial", load(0, 100), nil, 100},
		{"a trial", append([]llmsim.Truth{request(0, nil)}, load(700, 100)...), nil, 100},
		{"a pause, and all were counted", append(load(0, 3), load(700, 100)...), &StageClaim{Sent: 103}, 103},
		{"a pause with a request in flight", append([]llmsim.Truth{
			request(0, func(r *llmsim.Truth) { r.End = 800 * ms }),
		}, load(700, 100)...), nil, 101},
		{"a trial just before", load(0, 101),
			&StageClaim{Sent: 100, Began: origin.Add(15 * time.Millisecond)}, 100},
		{"a window that begins after the load", load(0, 101),
			&StageClaim{Sent: 100, Began: origin.Add(500 * time.Millisecond)}, 101},
		{"a trial, and a warm-up one by one", append(append([]llmsim.Truth{request(0, nil)}, request(800, nil),
			request(1600, nil)), load(2400, 100)...), nil, 100},
		{"a pause in the middle is of the load", paused, nil, 200},
	} {
		if got := len(withoutTrials(c.requests, c.claim)); got != c.left {
			t.Errorf("%s: %d requests are left, want %d", c.name, got, c.left)
		}
	}
}

func TestWithin(t *testing.T) {
	all := []llmsim.Truth{request(0, nil), request(1000, nil), request(2000, nil), request(3000, nil)}
	got := within(all, origin.Add(time.Second+time.Millisecond), origin.Add(2*time.Second))
	if len(got) != 2 || got[0].Read != 1000*ms {
		t.Errorf("%d requests are within, want the second and the third", len(got))
	}
}
