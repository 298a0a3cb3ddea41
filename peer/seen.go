package peer

import (
	"cmp"
	"slices"
	"time"

	"github.com/openloop/openloop/internal/num"
	"github.com/openloop/openloop/llmsim"
)

// Seen is what the server saw of a stage. Times are the server's own: from the kernel's receipt of a request's last
// byte to the return of the write of a token.
type Seen struct {
	Began    time.Time `json:"began"` // the first request
	Ended    time.Time `json:"ended"` // the last request, not its answer
	Arrivals Arrivals  `json:"arrivals"`

	Requests  int `json:"requests"`
	Completed int `json:"completed"`
	Failed    int `json:"failed"`    // by a fault, or refused
	Abandoned int `json:"abandoned"` // the client went away before the end

	TTFT50      num.Value `json:"ttft_p50_ms"` // of the completed streams, as all that follows
	TTFT99      num.Value `json:"ttft_p99_ms"`
	ITLMean     num.Value `json:"itl_mean_ms"`
	ITL99       num.Value `json:"itl_p99_ms"`         // of the gaps
	RequestITL  num.Value `json:"request_itl_ms"`     // mean of the requests' means
	Request99   num.Value `json:"request_itl_p99_ms"` // 99th percentile of the requests' means
	ServerLate  num.Value `json:"server_late_p99_ms"` // how late the server wrote first tokens, by its own schedule
	Unstreamed  int       `json:"unstreamed"`         // completed requests that did not ask for a stream
	OutputTotal int       `json:"output_tokens_total"`

	PromptTokens num.Value `json:"prompt_tokens_mean"` // of all requests, by the server's count
	OutputTokens num.Value `json:"output_tokens_mean"` // of the completed
	AskedOutput  num.Value `json:"asked_output_mean"`  // max_tokens

	// RepeatedPrompts is the share of the requests whose whole prompt had been sent before, RepeatedTokens the share of
	// the prompts' tokens that a prefix cache would have held.
	RepeatedPrompts num.Value `json:"repeated_prompts"`
	RepeatedTokens  num.Value `json:"repeated_tokens"`
	Connections     int       `json:"connections"` // that carried these requests

	lastAnswer time.Time
}

// see sums up the records of a stage's requests, in the order of their arrival. before are the prompts that were sent
// before it; see adds to them.
func see(requests []llmsim.Truth, before map[string]bool) *Seen {
	s := &Seen{Requests: len(requests)}
	var arrivals []int64
	var ttft, gaps, perRequest, late, prompts, outputs, asked []float64
	connections := map[uint64]bool{}
	repeated, repeatedTokens, promptTokens, named := 0, 0, 0, 0
	for i := range requests {
		r := &requests[i]
		arrivals = append(arrivals, r.Read)
		connections[r.Connection] = true
		if end := r.Wall.Add(time.Duration(r.End - r.Read)); end.After(s.lastAnswer) {
			s.lastAnswer = end
		}
		if r.Prompt != "" {
			named++
			if before[r.Prompt] {
				repeated++
			}
			before[r.Prompt] = true
		}
		repeatedTokens, promptTokens = repeatedTokens+r.Repeated, promptTokens+r.PromptTokens
		s.OutputTotal += r.OutputTokens
		if r.PromptTokens > 0 {
			prompts = append(prompts, float64(r.PromptTokens))
			asked = append(asked, float64(r.AskedTokens))
		}
		switch r.Outcome {
		case "stop", "length":
			s.Completed++
		case "abort":
			s.Abandoned++
			continue
		default:
			s.Failed++
			continue
		}
		outputs = append(outputs, float64(r.OutputTokens))
		if !r.Stream {
			s.Unstreamed++
			continue
		}
		ttft = append(ttft, float64(r.FirstToken-r.Read)/1e6)
		late = append(late, float64(r.FirstToken-r.DueFirst)/1e6)
		if r.OutputTokens > 1 {
			perRequest = append(perRequest, float64(r.LastToken-r.FirstToken)/1e6/float64(r.OutputTokens-1))
		}
		for k := 1; k < len(r.Tokens); k++ {
			gaps = append(gaps, float64(r.Tokens[k]-r.Tokens[k-1])/1e6)
		}
	}
	if len(requests) > 0 {
		s.Began, s.Ended = requests[0].Wall, requests[len(requests)-1].Wall
	}
	s.Arrivals = arrivalsOf(arrivals)
	t := quantiles(ttft, 0.5, 0.99)
	s.TTFT50, s.TTFT99 = t[0], t[1]
	s.ITLMean, s.ITL99 = mean(gaps), quantiles(gaps, 0.99)[0]
	s.RequestITL, s.Request99 = mean(perRequest), quantiles(perRequest, 0.99)[0]
	s.ServerLate = quantiles(late, 0.99)[0]
	s.PromptTokens, s.OutputTokens, s.AskedOutput = mean(prompts), mean(outputs), mean(asked)
	s.RepeatedPrompts = share(repeated, named)
	s.RepeatedTokens = share(repeatedTokens, promptTokens)
	s.Connections = len(connections)
	return s
}

func share(of, all int) num.Value {
	if all == 0 {
		return num.Absent()
	}
	return num.Value(float64(of) / float64(all))
}

// byArrival is the records of requests in the order of their arrival.
func byArrival(requests []llmsim.Truth) []llmsim.Truth {
	requests = slices.Clone(requests)
	slices.SortFunc(requests, func(a, b llmsim.Truth) int { return cmp.Compare(a.Read, b.Read) })
	return requests
}

// clockSlack is how much earlier or later than by its report a request may reach the server.
const clockSlack = 10 * time.Millisecond

// within are the requests that came between two times by the wall clock.
func within(requests []llmsim.Truth, began, ended time.Time) []llmsim.Truth {
	began, ended = began.Add(-clockSlack), ended.Add(clockSlack)
	return slices.DeleteFunc(slices.Clone(requests), func(r llmsim.Truth) bool {
		return r.Wall.Before(began) || r.Wall.After(ended)
	})
}

// withoutTrials leaves out the requests that a command sends before its load, to see whether the server answers or to
// warm it up: those among the first that came before the load began by its report (c, which may be nil), or that were
// all answered before a pause that parts them from what follows. No more are left out than were sent beyond what the
// report counts.
func withoutTrials(requests []llmsim.Truth, c *StageClaim) []llmsim.Truth {
	if len(requests) < 3 {
		return requests
	}
	gaps := make([]float64, len(requests)-1)
	for i := range gaps {
		gaps[i] = float64(requests[i+1].Read - requests[i].Read)
	}
	const fewest, part = 10, 20
	most := max(fewest, len(gaps)/part)
	earlier := 0 // requests before the load began
	if c != nil && c.Sent > 0 {
		most = min(most, max(0, len(requests)-int(min(c.Sent, num.Value(len(requests))))))
	}
	if c != nil && !c.Began.IsZero() {
		for earlier < len(requests) && requests[earlier].Wall.Before(c.Began.Add(-clockSlack)) {
			earlier++
		}
	}
	begin := 0
	if earlier <= most {
		begin = earlier
	}
	pause := max(float64(200*time.Millisecond), 20*num.Median(gaps))
	answered := int64(0) // when all so far were
	for i := range min(most, len(gaps)/2) {
		answered = max(answered, requests[i].End)
		if gaps[i] > pause && answered < requests[i+1].Read {
			begin = max(begin, i+1)
		}
	}
	return requests[begin:]
}
