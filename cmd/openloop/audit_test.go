package main

import (
	"testing"

	"github.com/spf13/pflag"
)

// What --engine says of faults stands, unless a flag says otherwise.
func TestAuditedEngine(t *testing.T) {
	for _, c := range []struct {
		args  []string
		every int
	}{
		{[]string{"--engine", "fixed?fault=status=503&fault_every=10"}, 10},
		{[]string{"--engine", "fixed?fault=status=503&fault_every=10", "--fault-every", "3"}, 3},
	} {
		var f auditFlags
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		f.add(set)
		if err := set.Parse(c.args); err != nil {
			t.Fatal(err)
		}
		o, err := f.options([]string{"tool"})
		if err != nil || o.Engine.FaultEvery != c.every || o.Engine.Fault.String() != "status=503" {
			t.Errorf("%v: %v to every %d, %v", c.args, o.Engine.Fault, o.Engine.FaultEvery, err)
		}
	}
}
