package main

import (
	"fmt"
	"time"

	"github.com/openloop/openloop/bench/faults/server"
)

// row is a row of the table.
//
// In args, shell, env and files these names are replaced: $URL, $ADDR and $PORT of the server, $URL2, $ADDR2 and
// $PORT2 of
// the second one; $OUT, the folder for results; $IN, the folder of files; $OPENLOOP, the binary; $KEY, the API key;
// $PASS, a password; $LEAD, the address at which a leader can listen; $DIR, the row's folder.
type row struct {
	number int    // in the table, from 1: the name of its folder, in which no word of the row may stand
	point  string // of the issue
	name   string
	fast   bool // takes about a second, and go test runs it
	alone  bool // measures times, or takes the whole machine: no other row runs beside it

	needs  func() string       // why this machine can't run it; nil or "": it can
	server server.Config       // the zero value is a good server
	second server.Config       // another server
	make   func(e *env) error  // what is to be there before, in place of what can be written as text in files
	files  map[string]string   // files in $IN and what they hold
	env    []string            // variables, beside PATH, HOME and OPENAI_API_KEY=$KEY
	shell  string              // bash that runs the command as "$@"; "": the command alone
	args   string              // the command line without the program; single quotes keep blanks together
	hands  []hand              // workers, of a command that leads
	act    func(e *env)        // what happens beside the command; it must return when the command has ended
	then   []step              // further commands
	within time.Duration       // the first command must end in this time; 0: 30 s
	maxMB  int                 // it must not take more memory; 0: 600
	exit   []int               // one of these exit codes; −1 is a signal's end
	says   []string            // expressions that stdout or stderr must match, whatever their case
	not    []string            // expressions that neither may match
	report []check             // what holds of the report; with none there need not be one
	check  func(e *env) string // whatever else holds; "" or what is wrong
	dies   bool                // the program is killed: it may leave temporary files, and words of its runtime
	parts  bool                // records.part may be left, to be recovered: the program was told to quit at once
}

// step is a further command of a row.
type step struct {
	before    func(e *env) error // what is done to the files that the command before it left
	args      string
	exit      []int
	says, not []string
	report    []check // of $OUT/benchmarks.json
}

// The secrets: every row gives the API key. The word must be in no output and no file, so it stands nowhere else.
const (
	canary   = "canary"
	apiKey   = "sk-canary-7f3a/9b1c5d"
	password = "pw-canary-7f3a-9b1c5d" // as $PASS, of URLs: in them a / would end the host
)

func (r *row) title() string { return r.point + " " + r.name }

// folder is the name of the folder for what the row leaves.
func (r *row) folder() string { return fmt.Sprintf("row%03d", r.number) }

// pace says how a row is run.
func (r *row) pace() string {
	switch {
	case r.alone:
		return "alone"
	case r.fast:
		return "fast"
	}
	return ""
}

// complaint is what was expected and what came.
func complaint(want, got any) string { return fmt.Sprintf("want %v\ngot  %v", want, got) }

// short is the command of most rows: 20 requests at 40 a second, constant, and a report in JSON. On a busy machine any
// client may be invalid; that is what only rows that run alone are about.
const (
	common = " --target $URL --tokenizer none --server-metrics off --prompt-tokens 16 --output-tokens 8" +
		" --outputs json --output-dir $OUT"
	data = "run --target $URL --tokenizer none --server-metrics off --outputs json --output-dir $OUT" +
		" --profile constant --rate 40 --max-requests 20 --allow-invalid --data "
	short = "run" + common + " --profile constant --rate 40 --max-requests 20 --allow-invalid"
)
