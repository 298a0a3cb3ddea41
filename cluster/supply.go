package cluster

import (
	"fmt"
	"sync"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// What one answer to a worker that asks for requests may hold, about, and how long it may take to make it.
const (
	supplyBytes = 4 << 20
	supplyTime  = time.Second
	maxBody     = maxMessage - supplyBytes - 1<<20 // of one request
)

// supply hands out the requests of a stage. Of an open loop, request i belongs to arrival i, whoever sends that; in a
// closed loop the next one goes to whoever asks.
type supply struct {
	mu      sync.Mutex
	source  loadgen.Source
	open    bool
	limit   int                 // of an open loop: requests that there are; 0: as many as are asked for
	next    int                 // that is made
	waiting [][]loadgen.Request // of an open loop: made, and not yet asked for, by share
	err     error               // why there are no more
	kinds   []kind              // of an open loop: of the requests that were made
}

// kind is of what class a request is, and for which target.
type kind struct{ class, target uint8 }

func newSupply(source loadgen.Source, stage loadgen.Stage, shares int) *supply {
	return &supply{source: source, open: stage.Load.Kind.Open(), limit: stage.MaxRequests,
		waiting: make([][]loadgen.Request, shares)}
}

// take hands out the next requests of a share, at most so many.
func (s *supply) take(share, most int) supplied {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out supplied
	size, began := 0, time.Now()
	for len(out.Requests) < most && size < supplyBytes && (len(out.Requests) == 0 || time.Since(began) < supplyTime) {
		r, ok := s.nextOf(share)
		if !ok {
			if s.err != nil {
				out.Error = s.err.Error()
			}
			return out
		}
		size += len(r.Body)
		out.Requests = append(out.Requests, r)
	}
	return out
}

// nextOf is the next request of a share; false if there is none.
func (s *supply) nextOf(share int) (loadgen.Request, bool) {
	if !s.open {
		return s.make()
	}
	for len(s.waiting[share]) == 0 {
		of := s.next % len(s.waiting)
		if s.limit > 0 && s.next >= s.limit {
			return loadgen.Request{}, false
		}
		r, ok := s.make()
		if !ok {
			return r, false
		}
		s.waiting[of] = append(s.waiting[of], r)
	}
	r := s.waiting[share][0]
	s.waiting[share] = s.waiting[share][1:]
	return r, true
}

func (s *supply) make() (loadgen.Request, bool) {
	if s.err != nil {
		return loadgen.Request{}, false
	}
	var r loadgen.Request
	if r, s.err = s.source(s.next); s.err != nil {
		return r, false
	}
	if n := len(r.Body); n > maxBody {
		s.err = fmt.Errorf("request %d has %d MB, and workers can be sent %d MB at most", s.next+1, n>>20, maxBody>>20)
		return loadgen.Request{}, false
	}
	s.next++
	if s.open {
		s.kinds = append(s.kinds, kind{r.Class, r.Target})
	}
	return r, true
}

// kind is that of request i of an open loop; the zero value where it was not made.
func (s *supply) kind(i int) kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.kinds) {
		return kind{}
	}
	return s.kinds[i]
}

// failure is the source's own error.
func (s *supply) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
