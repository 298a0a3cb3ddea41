package tokens

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func count(n int) Source {
	return func(i int) (Item, error) {
		if i == n {
			return Item{}, io.EOF
		}
		return Item{Index: i, PromptText: strings.Repeat("x", 1000)}, nil
	}
}

func TestAheadKeepsOrderAndEnds(t *testing.T) {
	for _, cfg := range []AheadConfig{{}, {Items: 1}, {Items: 7}, {Bytes: 1}, {Bytes: 5000}, {Items: 100, Bytes: 1 << 30}} {
		a := NewAhead(t.Context(), count(1000), cfg)
		for i := range 1000 {
			if it, err := a.Next(); err != nil || it.Index != i {
				t.Fatalf("%+v: item %d is %d, %v", cfg, i, it.Index, err)
			}
		}
		for range 2 {
			if _, err := a.Next(); err != io.EOF {
				t.Errorf("%+v: after the end: %v", cfg, err)
			}
		}
		if a.Built() != 1000 {
			t.Errorf("built %d", a.Built())
		}
		a.Close()
	}
}

func TestAheadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			cfg  AheadConfig
			want int64
		}{{AheadConfig{Items: 50}, 50}, {AheadConfig{Bytes: 11_600}, 10}, {AheadConfig{Bytes: 1}, 1}, {AheadConfig{}, 4096}} {
			a := NewAhead(t.Context(), count(1_000_000), c.cfg)
			if err := a.Fill(1_000_000); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if a.Built() != c.want {
				t.Errorf("%+v: %d items lie ready, want %d", c.cfg, a.Built(), c.want)
			}
			// It goes on when half is taken, and no earlier.
			for range c.want {
				a.Next()
				synctest.Wait()
				if ahead := a.Built() - c.want; ahead < 0 || ahead > c.want {
					t.Errorf("%+v: %d more", c.cfg, ahead)
				}
			}
			if a.Built() < c.want+1 || a.Starved() != 0 {
				t.Errorf("%+v: built %d, starved %d", c.cfg, a.Built(), a.Starved())
			}
			a.Close()
		}
	})
}

func TestAheadCountsStarvation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(i int) (Item, error) { time.Sleep(time.Second); return Item{Index: i}, nil }
		a := NewAhead(t.Context(), slow, AheadConfig{})
		defer a.Close()
		start := time.Now()
		for i := range 3 {
			if it, err := a.Next(); err != nil || it.Index != i {
				t.Fatal(it.Index, err)
			}
		}
		if a.Starved() != 3 || time.Since(start) != 3*time.Second {
			t.Errorf("starved %d times in %v", a.Starved(), time.Since(start))
		}
		if err := a.Fill(4); err != nil || time.Since(start) != 7*time.Second {
			t.Errorf("filled after %v, %v", time.Since(start), err)
		}
		a.Next()
		if a.Starved() != 3 {
			t.Errorf("starved %d times with items ready", a.Starved())
		}
	})
}

func TestAheadStopsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("the stage is over")
		a := NewAhead(ctx, count(1_000_000), AheadConfig{Items: 3})
		synctest.Wait()
		cancel(cause)
		a.Close() // synctest fails the test if the builder lives on
		for range 3 {
			if _, err := a.Next(); err != nil {
				t.Error("what was ready is lost:", err)
			}
		}
		if _, err := a.Next(); err != cause {
			t.Error(err)
		}

		// A consumer that waits is told as well.
		ctx, cancel = context.WithCancelCause(t.Context())
		release := make(chan struct{})
		b := NewAhead(ctx, func(int) (Item, error) { <-release; return Item{}, nil }, AheadConfig{})
		go func() { time.Sleep(time.Second); cancel(cause) }()
		if _, err := b.Next(); err != cause {
			t.Error(err)
		}
		close(release)
		b.Close()
	})
}

func TestAheadPassesTheSourcesError(t *testing.T) {
	broken := errors.New("line 7: no prompt")
	a := NewAhead(t.Context(), func(i int) (Item, error) {
		if i == 2 {
			return Item{}, broken
		}
		return Item{}, nil
	}, AheadConfig{})
	defer a.Close()
	a.Next()
	a.Next()
	if _, err := a.Next(); err != broken {
		t.Error(err)
	}
	b := NewAhead(t.Context(), func(int) (Item, error) { return Item{}, broken }, AheadConfig{})
	defer b.Close()
	if err := b.Fill(1); err != broken {
		t.Error(err)
	}
}

func BenchmarkAhead256(b *testing.B) {
	s, err := NewSynth(SynthConfig{Prompt: Length{Mean: 256}, Output: Length{Mean: 128}})
	if err != nil {
		b.Fatal(err)
	}
	body, err := NewBody(BodyConfig{Model: "m"})
	if err != nil {
		b.Fatal(err)
	}
	a := NewAhead(b.Context(), body.Attach(s.Source()), AheadConfig{})
	defer a.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Next(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "prompts/s")
}
