package tokens

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openloop/openloop/loadgen"
)

// numbered builds n requests of 1,160 bytes, and counts those that were asked for.
func numbered(n int, built *atomic.Int64) func(i int) (ready, error) {
	body := make([]byte, 1000)
	return func(i int) (ready, error) {
		if i == n {
			return ready{}, io.EOF
		}
		built.Add(1)
		return ready{index: i, request: loadgen.Request{Body: body}}, nil
	}
}

func TestAheadKeepsOrderAndEnds(t *testing.T) {
	for _, most := range []bounds{aheadMost, {1, 1 << 20}, {7, 1 << 20}, {4096, 1}, {4096, 80_000}, {100, 1 << 30}} {
		a := newAhead(t.Context(), numbered(1000, new(atomic.Int64)), most)
		for i := range 1000 {
			if r, err := a.next(); err != nil || r.index != i {
				t.Fatalf("%+v: request %d is %d, %v", most, i, r.index, err)
			}
		}
		for range 2 {
			if _, err := a.next(); err != io.EOF {
				t.Errorf("%+v: after the end: %v", most, err)
			}
		}
		a.close()
	}
}

// What lies ready is a sixteenth of the bounds at first, and all of them once as much was taken: a stage that sends
// little does not build much.
func TestAheadFillsInSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			most        bounds
			first, full int64
		}{
			{bounds{1600, 1 << 30}, 100, 1600},
			{bounds{1 << 20, 16 * 11_600}, 10, 160},
			{bounds{4096, 1}, 1, 1},
			{aheadMost, 256, 4096},
		} {
			var built atomic.Int64
			a := newAhead(t.Context(), numbered(1_000_000, &built), c.most)
			if err := a.fill(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if built.Load() != c.first {
				t.Errorf("%+v: %d lie ready at first, want %d", c.most, built.Load(), c.first)
			}
			for taken := range 20 * c.full {
				if _, err := a.next(); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				ready := built.Load() - taken - 1
				if most := max(c.first, min(c.full, taken+1+c.first)); ready > most {
					t.Fatalf("%+v: after %d, %d lie ready: more than %d", c.most, taken+1, ready, most)
				}
				if least := c.full/2 - 1; taken > 2*c.full && ready < least {
					t.Fatalf("%+v: after %d, %d lie ready: fewer than %d", c.most, taken+1, ready, least)
				}
			}
			a.close()
		}
	})
}

func TestAheadWaitsForASlowBuilder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(i int) (ready, error) { time.Sleep(time.Second); return ready{index: i}, nil }
		a := newAhead(t.Context(), slow, bounds{4 * firstShare, 1 << 20})
		defer a.close()
		start := time.Now()
		for i := range 3 {
			if r, err := a.next(); err != nil || r.index != i {
				t.Fatal(r.index, err)
			}
		}
		if time.Since(start) != 3*time.Second {
			t.Errorf("waited %v", time.Since(start))
		}
		if err := a.fill(); err != nil || time.Since(start) != 7*time.Second {
			t.Errorf("filled after %v, %v", time.Since(start), err)
		}
	})
}

func TestAheadStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("the stage is over")
		a := newAhead(ctx, numbered(1_000_000, new(atomic.Int64)), bounds{3 * firstShare, 1 << 20})
		synctest.Wait()
		cancel(cause)
		synctest.Wait() // the builder has ended
		for range 3 {
			if _, err := a.next(); err != nil {
				t.Error("what was ready is lost:", err)
			}
		}
		if _, err := a.next(); err != cause {
			t.Error(err)
		}
		a.close() // synctest fails the test if the builder lives on

		// A consumer that waits is told as well.
		ctx, cancel = context.WithCancelCause(t.Context())
		release := make(chan struct{})
		b := newAhead(ctx, func(int) (ready, error) { <-release; return ready{}, nil }, aheadMost)
		go func() { time.Sleep(time.Second); cancel(cause) }()
		if _, err := b.next(); err != cause {
			t.Error(err)
		}
		close(release)
		b.close()
	})
}

// Whoever still holds a source must not hold its requests with it.
func TestAheadLetsGoOfWhatWasNotTaken(t *testing.T) {
	a := newAhead(t.Context(), numbered(1_000_000, new(atomic.Int64)), aheadMost)
	if err := a.fill(); err != nil {
		t.Fatal(err)
	}
	a.close()
	if a.ring != nil || a.n != 0 {
		t.Errorf("%d requests are held after the end", a.n)
	}
	if _, err := a.next(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAheadPassesTheBuildersError(t *testing.T) {
	broken := errors.New("line 7: no prompt")
	a := newAhead(t.Context(), func(i int) (ready, error) {
		if i == 2 {
			return ready{}, broken
		}
		return ready{}, nil
	}, aheadMost)
	defer a.close()
	a.next()
	a.next()
	if _, err := a.next(); err != broken {
		t.Error(err)
	}
	b := newAhead(t.Context(), func(int) (ready, error) { return ready{}, broken }, aheadMost)
	defer b.close()
	if err := b.fill(); err != broken {
		t.Error(err)
	}
}

func BenchmarkAhead256(b *testing.B) {
	spec := Spec{Synthetic: &SyntheticSpec{Prompt: Length{Mean: 256}, Output: Length{Mean: 128}}}
	w, err := Open(spec, "m")
	if err != nil {
		b.Fatal(err)
	}
	next, release, err := w.Source(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	defer release()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := next(i); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "prompts/s")
}
