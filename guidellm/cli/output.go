package cli

import (
	"fmt"
	"math"
	"strings"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/spec"
)

// readOutput reads where the results go and what is printed.
func (c *Command) readOutput(a *arguments) error {
	out := &c.Spec.Output
	c.NoConsole = a.noConsole.Value
	if c.NoConsole {
		out.Style = spec.StyleNone
	}
	out.Quiet = out.Quiet || c.NoConsole || a.noProgress.Value
	out.Dir = "."
	if dir := a.outputDir.Value; dir != "" {
		out.Dir = dir
	}
	c.Args.OutputDir = out.Dir
	if a.outputs != nil {
		c.Args.Outputs = a.outputs
	}
	out.Files = nil
	for _, name := range c.Args.Outputs {
		if name == "console" { // printed in any case
			continue
		}
		if form, _, _ := strings.Cut(name, "="); form == string(guidellm.JSONv2) || form == string(guidellm.YAMLv2) {
			out.Files = append(out.Files, name)
			continue
		}
		if _, err := guidellm.ParseOutputs([]string{name}); err != nil {
			if strings.HasSuffix(name, "html") && a.outputs == nil {
				c.note("the html that GuideLLM writes by default is not written")
				continue
			}
			return fmt.Errorf("--outputs: %w", err)
		}
		out.Files = append(out.Files, name)
	}
	out.SampleRequests = 10
	switch n := a.sampleRequests; {
	case n.Valid:
		c.Args.SampleRequests = n.Null
		out.SampleRequests = int(min(max(0, n.Value), math.MaxInt32))
	case n.isNull: // all of them
		c.Args.SampleRequests = guidellm.Null[int64]{}
		out.SampleRequests = math.MaxInt32
	}
	return nil
}
