package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/openloop/openloop/spec"
	"github.com/openloop/openloop/tokens"
)

// flagOf maps the fields of a spec.Spec, and those of a tokens.Spec, to the flags that set them.
var flagOf = map[string]string{
	"Endpoint": "target", "Endpoint.ConnectTimeout": "connect-timeout", "Endpoint.RequestTimeout": "request-timeout",
	"Endpoint.WaitReady": "wait-ready",
	"Endpoint.Insecure":  "insecure", "Endpoint.CAFile": "ca-file",
	"Endpoint.ClientCert": "client-cert", "Endpoint.ServerName": "server-name",
	"Limits.MaxDuration": "max-seconds", "Limits.MaxRequests": "max-requests", "Limits.MaxErrors": "max-errors",
	"Limits.MaxErrorRate": "max-error-rate", "Limits.MaxGlobalErrorRate": "max-global-error-rate",
	"Limits.Grace": "grace", "Limits.Retries": "retry", "Limits.RampUp": "rampup",
	"Limits.MaxConcurrency": "max-concurrency",
	"Limits.Warmup":         "warmup", "Limits.Cooldown": "cooldown",
	"Plan.Stages": "rate", "Plan.Sweep.Size": "sweep-size", "Plan.Sweep.Search.Precision": "precision",
	"Plan.Sweep.Search.MaxStages": "max-stages", "Plan.Sweep.Search.Budget": "budget",
	"Plan.Sweep.Search.MaxPerStage": "max-seconds-per-stage", "Confidence": "confidence",
	"Output.SampleRequests": "sample-requests",
	"Extra":                 "extra-body", "Tokenizer": "tokenizer", "Trace": "trace", "SaveTo": "save-workload",
	"Data": "data", "Data.Columns": "data-column-mapper", "Synthetic": "prompt-tokens", "Synthetic.Images": "images",
	"Batch": "batch-size", "Query": "query-tokens",
}

// refuse turns what is wrong with a Spec into the words of the flags.
func refuse(err error) error {
	if err == nil {
		return nil
	}
	if all, ok := err.(interface{ Unwrap() []error }); ok { // of a Spec, not what one of its fields has
		var texts []error
		for _, e := range all.Unwrap() {
			texts = append(texts, inFlags(e))
		}
		return usageError("%w", errors.Join(texts...))
	}
	return usageError("%w", inFlags(err))
}

// inFlags names the flag in an error about a field.
func inFlags(err error) error {
	var class *tokens.ClassError
	if errors.As(err, &class) {
		return fmt.Errorf("class %s: %w", class.Class, inFlags(class.Err))
	}
	var issue *spec.Issue
	if errors.As(err, &issue) {
		if flag := flagOf[issue.Field]; flag != "" {
			return errors.New(issue.About("--" + flag))
		}
		return errors.New(issue.Text)
	}
	var field *tokens.SpecError
	if errors.As(err, &field) {
		if flag := flagOf[field.Field]; flag != "" {
			err := error(&flagError{flag, field.Err})
			if flag == "data" && errors.Is(err, fs.ErrNotExist) {
				err = withHint(err, "a data set is a file here, and nothing is fetched from a hub: save it as jsonl, "+
					"csv or parquet, and name that")
			}
			return err
		}
		return field.Err
	}
	return err
}

// flagError is an error in the value of a flag.
type flagError struct {
	flag string
	err  error
}

func (e *flagError) Error() string { return "--" + e.flag + ": " + e.err.Error() }
func (e *flagError) Unwrap() error { return e.err }
