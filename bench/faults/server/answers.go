package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Gap is the time between the tokens of a good stream.
const Gap = 2 * time.Millisecond

// Answer is a stream as it should be, and what is to be different. The zero value is a good one.
type Answer struct {
	Tokens   int                             // content events; 0: as many as were asked for
	None     bool                            // no content event
	First    time.Duration                   // before the first of them, beside the gap
	Gap      time.Duration                   // between them; 0: the usual
	Delta    func(k int) string              // the delta of the kth (from 0); nil: {"content":" w"}
	Choices  func(k int) string              // in the place of the whole array of choices
	Usage    string                          // of the last event; "": the true one
	NoUsage  bool                            // no event with usage
	Finish   string                          // finish reason; "": length
	NoFinish bool                            // no event with a finish reason
	NoRole   bool                            // no first event with the role
	NoDone   bool                            // no [DONE]
	Before   string                          // events, as they are, before the first token
	After    string                          // events, as they are, after the last token
	Write    func(x *Exchange, event string) // how an event is written; nil: as a chunk
	Prompt   int                             // usage.prompt_tokens; 0: 16
}

// Good answers as it should.
func Good(x *Exchange) { Answer{}.Serve(x) }

// Serve answers a request.
func (a Answer) Serve(x *Exchange) {
	tokens, stream := x.Asked()
	if a.Prompt == 0 {
		a.Prompt = 16
	}
	if !stream {
		x.Whole(200, "application/json", fmt.Sprintf(`{"id":"c%d","object":"chat.completion","choices":[{"index":0,`+
			`"message":{"role":"assistant","content":"%s"},"finish_reason":"length"}],"usage":%s}`,
			x.N, strings.Repeat(" w", tokens), Usage(a.Prompt, tokens)))
		return
	}
	if a.Tokens > 0 {
		tokens = a.Tokens
	}
	if a.None {
		tokens = 0
	}
	if a.Gap == 0 {
		a.Gap = Gap
	}
	write := a.Write
	if write == nil {
		write = (*Exchange).Chunk
	}
	event := func(data string) { write(x, "data: "+data+"\n\n") }
	x.Stream()
	if !a.NoRole {
		event(Chunk(x.N, `{"role":"assistant","content":""}`, "", ""))
	}
	if a.Before != "" {
		write(x, a.Before)
	}
	time.Sleep(a.First)
	for k := 0; k < tokens && !x.Lost(); k++ {
		time.Sleep(a.Gap)
		delta := `{"content":" w"}`
		if a.Delta != nil {
			delta = a.Delta(k)
		}
		if a.Choices != nil {
			event(fmt.Sprintf(`{"id":"c%d","object":"chat.completion.chunk","choices":%s}`, x.N, a.Choices(k)))
		} else {
			event(Chunk(x.N, delta, "", ""))
		}
	}
	if a.After != "" {
		write(x, a.After)
	}
	if !a.NoFinish {
		finish := a.Finish
		if finish == "" {
			finish = "length"
		}
		event(Chunk(x.N, `{}`, finish, ""))
	}
	if !a.NoUsage {
		usage := a.Usage
		if usage == "" {
			usage = Usage(a.Prompt, tokens)
		}
		event(fmt.Sprintf(`{"id":"c%d","object":"chat.completion.chunk","choices":[],"usage":%s}`, x.N, usage))
	}
	if !a.NoDone {
		event("[DONE]")
	}
	x.End()
}

// Usage is a usage object.
func Usage(prompt, output int) string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}`, prompt, output, prompt+output)
}

// Chunk is the data of an event; finish and usage may be "".
func Chunk(n int, delta, finish, usage string) string {
	reason := "null"
	if finish != "" {
		reason = quote(finish)
	}
	if usage != "" {
		usage = `,"usage":` + usage
	}
	return fmt.Sprintf(`{"id":"c%d","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,`+
		`"delta":%s,"finish_reason":%s}]%s}`, n, delta, reason, usage)
}

// Events answers with a stream of these data lines, chunk by chunk, and ends it in good order.
func Events(data ...string) Behaviour {
	return func(x *Exchange) {
		x.Stream()
		for _, d := range data {
			x.Event(d)
		}
		x.End()
	}
}

// ModelList is the body of a list of models.
func ModelList(ids ...string) string {
	var parts []string
	for _, id := range ids {
		parts = append(parts, `{"id":`+quote(id)+`,"object":"model"}`)
	}
	return `{"object":"list","data":[` + strings.Join(parts, ",") + `]}`
}

// JSON answers with a body of JSON.
func JSON(status int, body string) Behaviour { return Whole(status, "application/json", body) }

// Whole answers with a body of a length that is stated.
func Whole(status int, contentType, body string, headers ...string) Behaviour {
	return func(x *Exchange) { x.Whole(status, contentType, body, headers...) }
}

// Raw writes these bytes and closes the connection.
func Raw(parts ...string) Behaviour {
	return func(x *Exchange) {
		x.Write(parts...)
		x.Close()
	}
}

// NotFound is the answer to an unknown path.
func NotFound(x *Exchange) {
	x.Whole(404, "application/json", `{"error":{"message":"Not Found","code":404}}`)
}

// Drop has read the request, waits, and closes the connection without a byte.
func Drop(after time.Duration) Behaviour {
	return func(x *Exchange) {
		time.Sleep(after)
		x.Close()
	}
}

// Reset has read the request, waits, and resets the connection.
func Reset(after time.Duration) Behaviour {
	return func(x *Exchange) {
		time.Sleep(after)
		x.Reset()
	}
}

// Stall begins a stream with some tokens and then keeps silent until the client goes.
func Stall(tokens int) Behaviour {
	return func(x *Exchange) {
		x.Stream()
		for range tokens {
			x.Event(Chunk(x.N, `{"content":" w"}`, "", ""))
		}
		x.Hold(time.Hour)
		x.Close()
	}
}

// Silent has read the request and says nothing until the client goes.
func Silent(x *Exchange) {
	x.Hold(time.Hour)
	x.Close()
}

// Forever writes the parts again and again until the client goes, after the head.
func Forever(head string, parts ...string) Behaviour {
	return func(x *Exchange) {
		x.Write(head)
		for !x.Lost() {
			x.Write(parts...)
		}
		x.Close()
	}
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // of a string there is no error
	}
	return string(b)
}
