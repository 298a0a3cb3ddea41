package cli

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/tokens"
)

// readRequests reads the kind of request and the settings of its formatter.
func (c *Command) readRequests(a *arguments) error {
	kind := "chat_completions"
	var settings guidellm.Object
	switch v := a.requestFormatter.value.(type) {
	case nil:
	case string:
		kind, c.Args.DataRequestFormatter = v, v
	case guidellm.Object:
		settings = v
		if name, ok := v.Get("request_type").(string); ok {
			kind = name
		}
		c.Args.DataRequestFormatter = redactFormatter(v)
	default:
		return fmt.Errorf("--request-type: it is %s: want a text", describe(v))
	}
	switch kind {
	case "chat_completions":
		c.Spec.Workload.Format = tokens.ChatCompletions
	case "text_completions":
		c.Spec.Workload.Format = tokens.TextCompletions
	case "audio_transcriptions", "audio_translations":
		return fmt.Errorf("--request-type %s: openloop sends text alone, no audio", kind)
	default:
		return fmt.Errorf("--request-type %q: it is chat_completions or text_completions", kind)
	}
	for _, m := range settings {
		if err := c.readFormatter(m.Key, m.Value); err != nil {
			return fmt.Errorf("--request-formatter-kwargs: %w", err)
		}
	}
	if prefer := a.preferResponseMetrics; prefer.Valid && !prefer.Value {
		return errors.New("prefer_response_metrics false: openloop reports the server's own token counts wherever " +
			"it gives them")
	}
	return nil
}

func (c *Command) readFormatter(name string, value any) error {
	switch name {
	case "request_type":
	case "stream":
		on, ok := truthOf(value)
		if !ok {
			return fmt.Errorf("stream is true or false, not %s", describe(value))
		}
		c.Spec.Workload.NoStream = !on
	case "max_tokens", "max_completion_tokens":
		if value == nil {
			return nil
		}
		n, ok := numberOf(value)
		if !ok || n < 1 || n != math.Trunc(n) || n > math.MaxInt32 {
			return fmt.Errorf("%s is a whole number above 0, not %s", name, describe(value))
		}
		if c.answerTokens == 0 || name == "max_tokens" { // GuideLLM: max_tokens or max_completion_tokens
			c.answerTokens = int(n)
		}
	case "extras":
		extras, ok := value.(guidellm.Object)
		if !ok && value != nil {
			return fmt.Errorf("extras is an object of body and headers, not %s", describe(value))
		}
		for _, m := range extras {
			if err := c.readExtra(m.Key, m.Value); err != nil {
				return fmt.Errorf("extras.%s: %w", m.Key, err)
			}
		}
	case "encode_kwargs":
		if o, ok := value.(guidellm.Object); value != nil && (!ok || len(o) > 0) {
			return errors.New("encode_kwargs is for images, video and audio; openloop sends text alone")
		}
	default:
		return fmt.Errorf("%q is not a setting of GuideLLM's formatter; they are extras, stream, max_tokens, "+
			"max_completion_tokens", name)
	}
	return nil
}

// readExtra reads what is added to every request.
func (c *Command) readExtra(name string, value any) error {
	switch name {
	case "body":
		fields, ok := value.(guidellm.Object)
		if !ok {
			return fmt.Errorf("it is %s: want an object", describe(value))
		}
		var err error
		c.Spec.Workload.Extra, err = appendJSON(nil, fields)
		return err
	case "headers":
		return c.readHeaders(value)
	case "stream":
		if on, ok := truthOf(value); ok {
			c.Spec.Workload.NoStream = !on
		}
	default:
		if value != nil {
			return errors.New("openloop adds to the body and to the headers only")
		}
	}
	return nil
}

func (c *Command) readHeaders(value any) error {
	given, ok := value.(guidellm.Object)
	if !ok {
		return fmt.Errorf("it is %s: want an object of texts", describe(value))
	}
	headers := http.Header{}
	for _, m := range given {
		text, ok := m.Value.(string)
		if !ok || strings.ContainsAny(text, "\r\n") {
			return fmt.Errorf("the value of %q is not a text of one line", m.Key)
		}
		if m.Key == "" || strings.ContainsAny(m.Key, " \t\r\n:") {
			return fmt.Errorf("%q is not the name of a header", m.Key)
		}
		headers.Set(m.Key, strings.TrimSpace(text))
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		h := endpoint.Header{Name: name, Value: endpoint.NewSecret(headers.Get(name))}
		c.Spec.Endpoint.Headers = append(c.Spec.Endpoint.Headers, h)
	}
	return nil
}

// redactFormatter is the settings of a formatter without the values of headers: keys travel there.
func redactFormatter(settings guidellm.Object) guidellm.Object {
	replace := func(o guidellm.Object, key string, by func(any) any) guidellm.Object {
		o = slices.Clone(o)
		for i, m := range o {
			if m.Key == key {
				o[i].Value = by(m.Value)
			}
		}
		return o
	}
	return replace(settings, "extras", func(value any) any {
		if extras, ok := value.(guidellm.Object); ok {
			return replace(extras, "headers", hideTexts)
		}
		return value
	})
}
