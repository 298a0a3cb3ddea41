package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// bare is the yardstick for the client's processor time: the least that a program of Go's net/http can do with the same
// load. A goroutine a request reads lines and takes the time of each; nothing is parsed, nothing kept.
func bare(arg string) error {
	var a clientArgs
	if err := json.Unmarshal([]byte(arg), &a); err != nil {
		return err
	}
	debug.SetGCPercent(a.GC)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1 << 16, DisableCompression: true}}
	body := requestBody(a.Output)
	var all sync.WaitGroup
	var mu sync.Mutex
	var m clientMeasured
	url := a.URL + "/v1/chat/completions"
	request := func() {
		tokens := 0
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, bytes.NewReader(body))
		if err == nil {
			req.Header.Set("Content-Type", "application/json")
			var resp *http.Response
			if resp, err = client.Do(req); err == nil {
				r := bufio.NewReader(resp.Body)
				for err == nil {
					var line []byte
					if line, err = r.ReadSlice('\n'); len(line) > 6 {
						_ = time.Now()
						tokens++
					}
				}
				resp.Body.Close()
			}
		}
		mu.Lock()
		defer mu.Unlock()
		m.Tokens += max(tokens-4, 0) // role, end, usage and [DONE] are not tokens
		if err != io.EOF {
			m.Errored++
		}
	}
	start := time.Now()
	for i := range int(a.Rate * a.Seconds) {
		time.Sleep(time.Until(start.Add(time.Duration(float64(i+1) / a.Rate * 1e9))))
		all.Go(request)
	}
	all.Wait()
	m.Elapsed = time.Since(start).Seconds()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return err
	}
	m.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	return json.NewEncoder(os.Stdout).Encode(m)
}
