package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/openloop/openloop/bench/faults/server"
)

// lostRows are section 4 of the issue: whatever ends the program, what was measured is not lost, and what was there is
// not destroyed. 4.3 is soak.go.
func lostRows() []row { return append(endRows(), fileRows()...) }

// 4.1
func endRows() []row {
	const (
		long      = "run" + common + " --profile constant --rate 40 --max-seconds 120 --allow-invalid"
		twoStages = "run" + common + " --profile constant --rate 40,50 --max-requests 20 --allow-invalid"
		recovered = "report $OUT --recover"
	)
	// A signal when the server has answered so many requests; 400 are ten seconds.
	killAt := func(n int, s syscall.Signal) func(e *env) {
		return func(e *env) {
			if e.Until(func() bool { return e.Server.Answered() >= n }) {
				e.Signal(s)
			}
		}
	}
	kill := func(s syscall.Signal) func(e *env) { return killAt(400, s) }
	// At most some seconds of the ten may be lost.
	most := func(e *env) string { return e.recoveredAtLeast(160) }
	both := []check{stages(2, 2), completed(40, 40)}
	return []row{
		{point: "4.1", name: "SIGKILL in the middle of a stage", args: long, act: kill(syscall.SIGKILL),
			exit: []int{-1},
			dies: true, then: []step{{args: recovered, exit: []int{0}, says: []string{`constant@40`}}}, check: most},
		{point: "4.1", name: "SIGKILL in the second stage", dies: true,
			args: "run" + common + " --profile constant --rate 40,41 --max-seconds 6 --allow-invalid",
			act: func(e *env) {
				if e.Says(`(stage|leg) 2 of 2|stage 1/2 constant`) && e.Sleep(4*time.Second) {
					e.Signal(syscall.SIGKILL)
				}
			}, exit: []int{-1},
			then:  []step{{args: recovered, exit: []int{0}, says: []string{`constant@40`, `constant@41`}}},
			check: func(e *env) string { return e.recoveredAtLeast(240) }},
		{point: "4.1", name: "SIGKILL, and the last record is torn", args: long, act: kill(syscall.SIGKILL),
			exit: []int{-1},
			dies: true, then: []step{{before: tear, args: recovered, exit: []int{0}, says: []string{`constant@40`}}},
			check: most},
		{point: "4.1", name: "SIGKILL of a closed loop", dies: true,
			args:   "run" + common + " --profile concurrent --rate 1 --max-seconds 120 --allow-invalid",
			within: 90 * time.Second,
			act:    kill(syscall.SIGKILL), exit: []int{-1},
			then:  []step{{args: recovered, exit: []int{0}, says: []string{`concurrent@1`}}},
			check: func(e *env) string { return e.recoveredAtLeast(100) }},
		{point: "4.1", name: "a crash of the program", dies: true, args: long, act: kill(syscall.SIGABRT),
			exit: []int{-1, 2, 134},
			then: []step{{args: recovered, exit: []int{0}, says: []string{`constant@40`}}}, check: most},
		{point: "4.1", name: "SIGHUP in the middle of a stage", args: long, act: kill(syscall.SIGHUP), exit: []int{129},
			says: []string{`SIGHUP|hangup|hang-up|hung up`}, report: []check{completed(390, many)}},
		{point: "4.1", name: "nothing to recover", fast: true, args: "report $IN --recover", exit: []int{1, 2},
			says: []string{`record|recover`}, not: []string{`unknown flag`}},
		{point: "4.1", name: "records of a whole run are no longer there", fast: true, args: short, exit: []int{0},
			check: func(e *env) string {
				if left, _ := filepath.Glob(filepath.Join(e.Out, "*.part*")); len(left) > 0 {
					return complaint("no file of records beside a whole report", left)
				}
				return ""
			}},
		{point: "4.1", name: "2>&1 | head -1", args: twoStages, shell: `set -o pipefail; "$@" 2>&1 | head -1`,
			exit: []int{0, 1}, report: both},
		{point: "4.1", name: "stderr whose reader is gone", args: twoStages,
			shell: `"$@" 2> >(head -1 >/dev/null); exit $?`, exit: []int{0, 1}, report: both},
		{point: "4.1", name: "stdout whose reader is gone", args: twoStages,
			shell: `set -o pipefail; "$@" | true`, exit: []int{0, 1}, report: both},
		{point: "4.1", name: "closed stderr", args: twoStages, shell: `exec "$@" 2>&-`, exit: []int{0, 1},
			report: both},
		{point: "4.1", name: "closed stdout", args: twoStages, shell: `exec "$@" >&-`, exit: []int{0, 1}, report: both},
		{point: "4.1", name: "closed stdin, stdout and stderr", args: twoStages, shell: `exec "$@" <&- >&- 2>&-`,
			exit: []int{0, 1}, report: both},
		{point: "4.1", name: "stderr on a full disk", args: twoStages, shell: `exec "$@" 2>/dev/full`, exit: []int{0,
			1},
			report: both, needs: needsLinux},
		{point: "4.1", name: "stdout on a full disk", args: twoStages, shell: `exec "$@" >/dev/full`, exit: []int{1},
			report: both, needs: needsLinux},
	}
}

// recovered reads how many requests a recovered report holds: from the file, where one was made, else from the screen.
func (e *env) recoveredAtLeast(n int) string {
	if r, err := readReport(filepath.Join(e.Out, "benchmarks.json")); err == nil {
		return completed(n, many)(r)
	}
	text := e.read("stdout2") + e.read("stderr2")
	most := 0
	for _, m := range regexp.MustCompile(`(\d[\d,]*) (requests|records)`).FindAllStringSubmatch(text, -1) {
		found := 0
		if _, err := fmt.Sscan(strings.ReplaceAll(m[1], ",", ""), &found); err == nil {
			most = max(most, found)
		}
	}
	if most >= n {
		return ""
	}
	return complaint(fmt.Sprintf("a report of at least %d of %d requests", n, e.Server.Answered()), last(text, 5))
}

// tear cuts the last bytes off the file of records.
func tear(e *env) error {
	found, err := filepath.Glob(filepath.Join(e.Out, "*records*"))
	if err != nil || len(found) == 0 {
		return nil // what recovers says so
	}
	info, err := os.Stat(found[0])
	if err != nil {
		return err
	}
	return os.Truncate(found[0], max(0, info.Size()-5))
}

// 4.2
func fileRows() []row {
	const precious = "{\"prompt\": \"one two three\", \"output_tokens_count\": 4}\n"
	files := map[string]string{"load.jsonl": precious}
	intact := func(e *env) string {
		b, err := os.ReadFile(filepath.Join(e.In, "load.jsonl"))
		if err != nil || string(b) != precious {
			return complaint("the file to be as it was", fmt.Sprintf("%q, %v", b, err))
		}
		left, _ := filepath.Glob(filepath.Join(e.In, "*"))
		for _, name := range left {
			if base := filepath.Base(name); base != "load.jsonl" && base != "link.jsonl" {
				return complaint("nothing left beside it", base)
			}
		}
		return ""
	}
	link := func(how func(old, new string) error) func(e *env) error {
		return func(e *env) error { return how(filepath.Join(e.In, "load.jsonl"), filepath.Join(e.In, "link.jsonl")) }
	}
	const save = " --save-workload $IN/load.jsonl"
	down := server.Config{Chat: server.JSON(500, `{"error":{"message":"down"}}`)}
	rows := []row{
		{name: "the file to save to when the trial fails", files: files, server: down, args: short + save,
			exit:  []int{2},
			check: intact},
		{name: "the file to save to when the model is not known", files: files, args: short + save + " --model none",
			exit: []int{2}, check: intact},
		{name: "the file to save to when nothing listens", files: files,
			args: strings.Replace(short, "$URL", "http://127.0.0.1:1", 1) + save, exit: []int{2}, check: intact},
		{name: "the data as the file to save to", files: files, args: data + "$IN/load.jsonl" + save, exit: []int{2},
			says: []string{`save-workload`}, check: intact},
		{name: "the data as the file to save to, by another path", files: files,
			args: data + "$IN/load.jsonl --save-workload $IN/../in/load.jsonl", exit: []int{2},
			says:  []string{`save-workload`},
			check: intact},
		{name: "the data as the file to save to, by a link", files: files, make: link(os.Symlink),
			args: data + "$IN/load.jsonl --save-workload $IN/link.jsonl", exit: []int{2},
			says:  []string{`save-workload`},
			check: intact},
		{name: "the data as the file to save to, by a hard link", files: files, make: link(os.Link),
			args: data + "$IN/load.jsonl --save-workload $IN/link.jsonl", exit: []int{2},
			says:  []string{`save-workload`},
			check: intact},
		{name: "the data as an output", files: map[string]string{"load.csv": "prompt\none two three\n"},
			args: "run --target $URL --tokenizer none --server-metrics off --data $IN/load.csv --output-dir $IN" +
				" --outputs load.csv --profile constant --rate 40 --max-requests 5 --allow-invalid", exit: []int{0, 2},
			check: func(e *env) string {
				b, err := os.ReadFile(filepath.Join(e.In, "load.csv"))
				kept, _ := filepath.Glob(filepath.Join(e.In, "load-*.csv"))
				if err == nil && string(b) == "prompt\none two three\n" || len(kept) == 1 {
					return ""
				}
				return complaint("the data to be there", fmt.Sprintf("%.60q, %v", b, err))
			}},
		{name: "the workload is saved when it is whole", args: short + " --save-workload saved.jsonl", exit: []int{0},
			check: func(e *env) string {
				if n := strings.Count(e.read("saved.jsonl"), "\n"); n != 20 {
					return complaint("20 requests in the file", n)
				}
				return ""
			}},
		{name: "saving the workload to a full disk", args: short + " --save-workload /dev/full", exit: []int{1, 2},
			says: []string{`/dev/full`, `no space|full`}, needs: needsLinux},
		{name: "saving the workload to no folder", args: short + " --save-workload no/such/load.jsonl", exit: []int{2},
			says: []string{`save-workload`, `no such file|does not exist|folder`}, check: unasked},
		{name: "saving the workload to a folder", args: short + " --save-workload $IN", exit: []int{2},
			says: []string{`save-workload`, `director|folder`}, check: unasked},
		{name: "results on a full disk", args: short, shell: `ulimit -f 1; exec "$@"`, exit: []int{1},
			says: []string{`benchmarks\.json`, `too large|no space|full`}, needs: needsLinux},
		{name: "results to /dev/full", args: strings.Replace(short, "--outputs json", "--outputs json,/dev/full", 1),
			exit: []int{1, 2}, says: []string{`/dev/full`}, needs: needsLinux},
		{name: "results to an unwritable place", args: strings.Replace(short, "$OUT", "/proc/nowhere", 1),
			exit: []int{2},
			says: []string{`/proc/nowhere`}, check: unasked, needs: needsLinux},
		{name: "results to a place that is a file", files: files, args: strings.Replace(short, "$OUT",
			"$IN/load.jsonl", 1),
			exit: []int{2}, says: []string{`load\.jsonl`}, check: func(e *env) string {
				return unasked(e) +
					intact(e)
			}},
		{name: "results of an earlier run are kept", args: short, exit: []int{0},
			then: []step{{args: short, exit: []int{2}, says: []string{`holds the results of an earlier run`},
				report: []check{completed(20, 20)}}}},
		{name: "results of an earlier run are replaced on demand", args: short, exit: []int{0},
			then: []step{{args: strings.Replace(short, "--max-requests 20", "--max-requests 10 --overwrite", 1),
				exit: []int{0}, report: []check{completed(10, 10)}}}},
	}
	for i := range rows {
		rows[i].point, rows[i].fast = "4.2", true
	}
	// The second signal comes while the report is being written: to a pipe that nobody empties, and to a file.
	return append(rows,
		row{
			point: "4.2", name: "a second Ctrl-C while saving",
			make: func(e *env) error { return syscall.Mkfifo(filepath.Join(e.Dir, "stuck.json"), 0o666) },
			args: "run --target $URL --tokenizer none --server-metrics off --prompt-tokens 16 --output-tokens 8" +
				" --outputs json,$STUCK --output-dir $OUT --profile constant --rate 40 --max-seconds 60" +
				" --allow-invalid",
			act: func(e *env) {
				f, err := os.OpenFile(filepath.Join(e.Dir, "stuck.json"), os.O_RDWR, 0)
				if err != nil {
					e.wrong("%v", err)
					return
				}
				defer f.Close()
				if !e.Chats(200) {
					return
				}
				e.Signal(os.Interrupt)
				e.Sleep(3 * time.Second)
				e.Signal(os.Interrupt)
				if e.Sleep(3 * time.Second) {
					e.wrong("it did not end at the second Ctrl-C")
					e.Signal(syscall.SIGKILL)
				}
			},
			exit: []int{130}, parts: true,
		},
		row{
			point: "4.2", name: "a second Ctrl-C when a file has been begun", parts: true,
			args: "run --target $URL --tokenizer none --server-metrics off --prompt-tokens 2000 --output-tokens 4" +
				" --outputs json --output-dir $OUT --profile constant --rate 300 --max-seconds 60 --allow-invalid",
			act: func(e *env) {
				if !e.Chats(1500) {
					return
				}
				e.Signal(os.Interrupt)
				e.Until(func() bool {
					list, err := os.ReadDir(e.Out)
					return err == nil && slices.ContainsFunc(list, func(d os.DirEntry) bool {
						return strings.HasPrefix(d.Name(), ".openloop") || strings.Contains(d.Name(), ".part-")
					})
				})
				e.Signal(os.Interrupt)
			},
			exit: []int{130}, within: 30 * time.Second,
		},
	)
}
