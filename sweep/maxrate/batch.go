package maxrate

import (
	"math"
)

// runBatch is a server with continuous batching: in each step, every request in it gets a token, and a step takes the
// longer the more there are. A prompt holds up all of them. The step of an empty server is what the stages show
// (Stage.Gap), and the rest follows from the capacity. An arrival finds the logarithm of what the objective's metric
// would then be.
//
// It is a fluid model: between two events all requests advance by the same number of steps.
func runBatch(e *estimator, k int, arrivals, tokens []float64, capacity, mean float64, found []float64) {
	prompt := tokensAlways / (1 + tokensAlways) / capacity
	perRequest := 1 / (1 + tokensAlways) / capacity / mean // of a step
	base := max(e.gap-perRequest, 0.1*e.gap)
	metric := e.Objectives[k].Metric

	ends := make(heap, 0, 64)         // of the requests in the server, in steps since the start
	now, steps, held := 0.0, 0.0, 0.0 // held: time for which prompts still hold up the steps
	if len(arrivals) > 0 {
		now = arrivals[0]
	}
	for i := 0; i <= len(arrivals); i++ {
		next := math.MaxFloat64
		if i < len(arrivals) {
			next = arrivals[i]
		}
		for len(ends) > 0 { // those that end before it
			end := now + held + (ends[0].steps-steps)*(base+perRequest*float64(len(ends)))
			if end > next {
				break
			}
			steps, now, held = ends[0].steps, end, 0
			r := ends.pop()
			if metric != TTFT {
				duration := now - arrivals[r.index]
				if metric == TPOT {
					duration /= max(r.tokens, 1)
				}
				found[r.index] = math.Log(max(duration, 1e-9))
			}
		}
		if i == len(arrivals) {
			return
		}
		if passed := next - now; passed > 0 {
			if len(ends) > 0 && passed > held {
				steps += (passed - held) / (base + perRequest*float64(len(ends)))
			}
			held, now = max(held-passed, 0), next
		}
		held += prompt
		if metric == TTFT {
			found[i] = math.Log(held + base + perRequest*float64(len(ends)+1))
		}
		length := tokens[i]
		if length <= 0 {
			length = mean
		}
		ends.push(inServer{steps + length, length, i})
	}
}

// inServer is a request in the virtual batch.
type inServer struct {
	steps  float64 // at which it ends
	tokens float64
	index  int
}

// heap has the request that ends first at its top. It is a heap of its own because container/heap calls through an
// interface, and this runs millions of times.
type heap []inServer

func (h *heap) push(r inServer) {
	*h = append(*h, r)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up].steps <= s[i].steps {
			break
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

func (h *heap) pop() inServer {
	s := *h
	top := s[0]
	n := len(s) - 1
	s[0] = s[n]
	s = s[:n]
	*h = s
	for i := 0; ; {
		down := 2*i + 1
		if down >= n {
			break
		}
		if down+1 < n && s[down+1].steps < s[down].steps {
			down++
		}
		if s[i].steps <= s[down].steps {
			break
		}
		s[i], s[down] = s[down], s[i]
		i = down
	}
	return top
}
