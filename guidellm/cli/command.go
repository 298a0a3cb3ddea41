// Package cli is the command lines of "guidellm benchmark run" 0.5.0 (Parse) and of "guidellm run" 0.8.1 (ParseRun):
// flags, GUIDELLM_… variables and scenarios, read into a spec.Spec. What openloop can't do is refused by name, before
// anything is asked of an endpoint.
package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/spec"
)

// Command is what a command line asks for.
type Command struct {
	Spec  spec.Spec
	Args  guidellm.Args // as GuideLLM echoes them, credentials left out
	Notes []string      // what was taken and has no effect, or another one than in GuideLLM

	OverSaturation *oversaturation.Config // nil: a stage that the server does not keep up with goes on
	NoConsole      bool                   // nothing is to be printed, Notes neither

	// Scenario is what "guidellm run" was asked for, as its reports have it, credentials left out; nil for 0.5.0's.
	Scenario guidellm.Object

	login        endpoint.Secret // name and password of the target, or the key of a scenario
	minRequests  []int           // a stage ends when so many requests have ended, by stage; nil: no such limit
	limits       [2]string       // what ends a stage by time and by requests, in words for people
	lengthName   string          // what answerTokens comes from, likewise
	limited      bool            // a stage ends by time or by requests
	answerTokens int             // to ask for where a record of a file does not say; 0: as many as the model likes
}

// Parse reads the command line args, which set has parsed, with the variables of the environment. base is what
// openloop's own flags say: headers, limits and what is printed; what GuideLLM has an argument for is set over it.
// Errors are of who wrote the command line, and name its flags.
func Parse(set *pflag.FlagSet, args []string, getenv func(string) string, base spec.Spec) (*Command, error) {
	a, err := collect(set, getenv)
	if err != nil {
		return nil, err
	}
	c := &Command{
		Spec: base, Args: guidellm.DefaultArgs(), limits: [2]string{"--max-seconds", "--max-requests"},
		lengthName: "--request-formatter-kwargs",
	}
	c.Spec.Endpoint.Headers = slices.Clone(base.Endpoint.Headers)
	for _, read := range []func(*arguments) error{
		c.readTarget, c.readBackend, c.readRequests, c.readData, c.readOutput, c.readLimits, c.readSaturation,
	} {
		if err := read(a); err != nil {
			return nil, err
		}
	}
	if err := c.readPlan(a, getenv); err != nil {
		return nil, err
	}
	c.noteSettings(getenv)
	c.Spec.Endpoint.Authorize(c.login)
	safe := endpoint.RedactCommand(args, secretFlags)
	c.Spec.Output.Command = append([]string{"openloop", "benchmark", "run"}, safe...)
	return c, nil
}

func (c *Command) note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// noteSettings tells of GuideLLM's own settings in the environment, most of which are about its worker processes.
func (c *Command) noteSettings(getenv func(string) string) {
	for _, setting := range []struct{ name, why string }{
		{"MAX_CONCURRENCY", ": openloop's arrivals never wait for others (--max-concurrency is its safety limit)"},
		{"CONSTRAINT_ERROR_WINDOW_SIZE", ""}, {"CONSTRAINT_ERROR_MIN_PROCESSED", ""}, {"PREFERRED_ROUTE", ""},
		{"OPENAI__API_KEY", ", as in GuideLLM 0.5.0: a key is read from --api-key-file or OPENAI_API_KEY"},
		{"OPENAI__BEARER_TOKEN", ", as in GuideLLM 0.5.0: a key is read from --api-key-file or OPENAI_API_KEY"},
	} {
		if getenv("GUIDELLM__"+setting.name) != "" {
			c.note("GUIDELLM__%s has no effect%s", setting.name, setting.why)
		}
	}
}
