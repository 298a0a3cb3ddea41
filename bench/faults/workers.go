package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// workerRows are of a load that several processes send, who can die, hang, be cut off, or be somebody else.
func workerRows() []row { return slices.Concat(lostWorkerRows(), leaderRows(), joiningRows()) }

// A leader of workers, and what it sends in a stage.
const (
	leads    = "run" + common + " --listen $LEAD --allow-invalid"
	twoLead  = leads + " --workers 2 --profile constant --rate 40 --max-seconds 5"
	lostSoon = 5 * time.Second // from a worker's end to that of the stage
)

// worker is one that sees the run to its end.
var worker = hand{exit: []int{0}}

// given is one that the leader goes on without.
func given(exit int, says ...string) hand {
	return hand{exit: []int{exit}, says: says, args: "-o $DIR/given"}
}

// repeated is a report of one stage that lost a worker and was run again, by so many.
func repeated(why string, most int) []check {
	return []check{stages(2, 2), warned(`worker \S+ was lost: ` + why), func(r *report) string {
		if len(r.stages) != 2 {
			return ""
		}
		first, second := r.stages[0], r.stages[1]
		for expression, raw := range map[string]string{
			`"stop_reason": *"worker_lost"`: first.raw, `"repeated": *true`: first.raw, `"lost": *"` + why: first.raw,
			`"stop_reason": *"max_(duration|requests)"`: second.raw,
		} {
			if !regexp.MustCompile(expression).MatchString(raw) {
				return complaint(expression, raw[:min(len(raw), 2000)])
			}
		}
		if first.level != "invalid" {
			return complaint("the client of the first to be invalid", first.level)
		}
		if n := second.completed; n < most*9/10 || n > most {
			return complaint(fmt.Sprintf("%d completed requests in the stage that was repeated", most), n)
		}
		return ""
	}}
}

// lostWorkerRows lose workers in the middle of a stage.
func lostWorkerRows() []row {
	// lose does something to a worker when so many requests were sent, and expects the end of the stage soon.
	lose := func(n int, do func(e *env)) func(e *env) {
		return func(e *env) {
			if e.Chats(n) {
				e.Within(lostSoon, `stage 1/`, func() { do(e) })
			}
		}
	}
	kill := func(i int) func(e *env) { return func(e *env) { e.SignalHand(i, syscall.SIGKILL) } }
	killed := hand{exit: []int{-1}}
	byRelay := func(h hand) hand {
		h.relay = true
		return h
	}
	rows := []row{
		{
			name: "SIGKILL of a worker", alone: true, args: strings.Replace(twoLead, " --allow-invalid", "", 1),
			hands: []hand{worker, killed}, act: lose(30, kill(1)), exit: []int{0}, dies: true,
			says:   []string{`worker \S+ was lost: its connection was gone`, `repeated`},
			report: repeated("its connection was gone", 200),
		},
		{
			name: "SIGSTOP of a worker, and SIGCONT", args: twoLead,
			hands: []hand{worker, given(1, `the leader (goes on without this worker|is gone)`, `--recover`)},
			act: func(e *env) {
				lose(30, func(e *env) { e.SignalHand(1, syscall.SIGSTOP) })(e)
				e.Sleep(2 * time.Second)
				e.SignalHand(1, syscall.SIGCONT)
			},
			exit: []int{0}, parts: true, report: repeated("it did not answer for", 200),
			then: []step{{args: "report $DIR/given --recover", exit: []int{0}, says: []string{`constant@40`}}},
		},
		{
			name: "SIGSTOP of a worker for a second", args: twoLead, hands: []hand{worker, worker},
			act: func(e *env) {
				if e.Chats(30) {
					e.SignalHand(1, syscall.SIGSTOP)
					e.Sleep(time.Second)
					e.SignalHand(1, syscall.SIGCONT)
				}
			},
			exit: []int{0}, report: []check{stages(1, 1), level("invalid"), warned(`worker \S+: `)},
		},
		{
			name: "SIGSTOP of a worker before the first stage", args: strings.Replace(twoLead, "5", "2", 1),
			hands: []hand{worker, {exit: []int{1}, says: []string{`the leader (goes on without this worker|is gone)`},
				not: []string{`--recover`}}},
			act: func(e *env) {
				if e.Says(`joined \(2 of 2\)`) {
					e.SignalHand(1, syscall.SIGSTOP)
					e.Within(lostSoon, `was lost`, func() {})
					e.Says(`stage 1/1`)
					e.SignalHand(1, syscall.SIGCONT)
				}
			},
			exit: []int{0}, says: []string{`could not begin`},
			report: []check{stages(1, 1), completed(70, 80), warned(`was lost: it did not answer`)},
		},
		{
			name: "a worker that is cut off", args: twoLead,
			hands: []hand{worker, byRelay(given(1, `the leader is gone: it was not heard for`, `--recover`))},
			act:   lose(30, func(e *env) { e.Relay.stand(true) }),
			exit:  []int{0}, parts: true, report: repeated("it did not answer for", 200),
		},
		{
			name: "a worker whose connection is closed", args: twoLead,
			hands: []hand{worker, byRelay(given(1, `the leader is gone`, `--recover`))},
			act:   lose(30, func(e *env) { e.Relay.cut(time.Hour) }),
			exit:  []int{0}, parts: true, report: repeated("its connection was gone for", 200),
		},
		{
			name: "a worker whose connection is closed for a moment", args: twoLead,
			hands: []hand{worker, byRelay(worker)},
			act: func(e *env) {
				if e.Chats(30) {
					e.Relay.cut(300 * time.Millisecond)
				}
			},
			exit: []int{0}, report: []check{stages(1, 1), completed(180, 200)},
		},
		{
			name: "SIGTERM of a worker", args: strings.Replace(twoLead, "--max-seconds 5", "--max-seconds 2", 1),
			hands: []hand{worker, given(143)}, act: lose(20, func(e *env) { e.SignalHand(1, syscall.SIGTERM) }),
			exit: []int{0}, parts: true, report: repeated("it was stopped", 80),
		},
		{
			name: "two workers lost in one stage", args: strings.Replace(twoLead, "--workers 2", "--workers 3", 1),
			hands: []hand{worker, killed, given(143)},
			act: lose(30, func(e *env) {
				e.SignalHand(1, syscall.SIGKILL)
				e.Sleep(200 * time.Millisecond)
				e.SignalHand(2, syscall.SIGTERM)
			}),
			exit: []int{0}, dies: true, says: []string{`it was stopped`, `its connection was gone`},
			report: repeated("it was stopped", 200),
		},
		{
			name:  "another worker lost in the repetition",
			args:  strings.Replace(twoLead, "--workers 2", "--workers 3", 1),
			hands: []hand{worker, killed, killed},
			act: func(e *env) {
				lose(30, kill(1))(e)
				n := e.Server.Chats()
				if e.Chats(n + 40) {
					e.Within(lostSoon, `stage 2/`, func() { kill(2)(e) })
				}
			},
			exit: []int{1}, dies: true, says: []string{`a worker was lost twice \(constant@40`},
			report: []check{stages(2, 2), level("invalid"), completed(40, many)},
		},
		{
			name: "all workers die", args: twoLead, hands: []hand{killed, killed}, dies: true,
			act:  lose(30, func(e *env) { kill(0)(e); kill(1)(e) }),
			exit: []int{1}, says: []string{`no worker is left`, `was lost: its connection was gone`},
			report: []check{stages(1, 1), level("invalid"), completed(10, many), func(r *report) string {
				if sent := numbers(r.stages[0].raw, "sent"); len(sent) == 0 || sent[0] < 10 {
					return complaint("about 40 requests a second to be sent", sent)
				}
				return ""
			}},
		},
		{
			name: "a worker that stands by takes the place of one that dies", dies: true,
			args:  strings.Replace(twoLead, "--workers 2", "--workers 3", 1),
			hands: []hand{worker, killed, worker, {exit: []int{0}, late: true}},
			act: func(e *env) {
				if !e.Says(`constant: about`) {
					return
				}
				e.StartHand(3)
				lose(60, kill(1))(e)
			},
			exit: []int{0}, report: append(repeated("its connection was gone", 200), func(r *report) string {
				n := strings.Count(r.stages[1].raw, `"clock_offset_ns"`)
				return between("workers in the repeated stage", n, 3, 3)
			}),
		},
		{
			name: "SIGKILL of a worker between two stages", dies: true, hands: []hand{worker, killed},
			args: strings.Replace(twoLead, "--rate 40 --max-seconds 5", "--rate 40,50 --max-seconds 2", 1),
			act: func(e *env) {
				if e.Says(`stage 1/2`) {
					kill(1)(e)
				}
			},
			exit: []int{0}, says: []string{`50\.00 could not begin: worker \S+ was lost`},
			report: []check{stages(2, 2), warned(`worker \S+ was lost: its connection was gone`), completed(165, 180)},
		},
		{
			name: "a worker joins late", args: leads + " --workers 1 --profile constant --rate 40,50 --max-seconds 2",
			hands: []hand{worker, {exit: []int{0}, late: true}},
			act: func(e *env) {
				if e.Says(`stage 1/2`) {
					e.StartHand(1)
				}
			},
			exit: []int{0}, report: []check{stages(2, 2), warned(`worker \S+ joined late`)},
		},
	}
	for i := range rows {
		rows[i].point, rows[i].within = "workers", time.Minute
	}
	return rows
}

// leaderRows are of what becomes of workers without their leader.
func leaderRows() []row {
	long := strings.Replace(twoLead, "--max-seconds 5", "--max-seconds 60", 1)
	gone := func(name string) hand {
		return hand{args: "-o $DIR/" + name, exit: []int{1}, says: []string{`the leader is gone`, `--recover`}}
	}
	signal := func(n int, s os.Signal) func(e *env) {
		return func(e *env) {
			if e.Chats(n) {
				e.Signal(s)
			}
		}
	}
	recovered := func(dir string) step {
		return step{args: "report " + dir + " --recover", exit: []int{0}, says: []string{`constant@40`}}
	}
	rows := []row{
		{
			name: "SIGKILL of the leader", args: long, hands: []hand{gone("one"), gone("two")},
			act: signal(200, syscall.SIGKILL), exit: []int{-1}, dies: true,
			then: []step{recovered("$OUT"), recovered("$DIR/one"), recovered("$DIR/two")},
		},
		{
			name: "SIGSTOP of the leader", args: long, hands: []hand{gone("one"), gone("two")}, parts: true,
			act: func(e *env) {
				signal(100, syscall.SIGSTOP)(e)
				e.Sleep(5 * time.Second)
				for i := range 2 {
					select {
					case <-e.Hand(i).ended:
					default:
						e.wrong("worker %d did not end within 5 s", i+1)
					}
				}
				e.Signal(syscall.SIGCONT)
			},
			exit: []int{1}, says: []string{`no worker is left`}, report: []check{completed(50, many)},
		},
	}
	for s, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		var at time.Time
		rows = append(rows, row{
			name: s.String() + " at the leader", args: long, hands: []hand{worker, worker},
			act: func(e *env) {
				signal(100, s)(e)
				at = time.Now()
			},
			exit: []int{code}, report: []check{completed(90, many)},
			check: func(e *env) string {
				if took := e.over.Sub(at); took > lostSoon {
					return complaint(fmt.Sprintf("an end within %v", lostSoon), took)
				}
				return ""
			},
		})
	}
	for i := range rows {
		rows[i].point, rows[i].within = "workers", time.Minute
	}
	return rows
}
