package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/openloop/openloop/guidellm"
	"github.com/openloop/openloop/guidellm/oversaturation"
	"github.com/openloop/openloop/loadgen"
	"github.com/openloop/openloop/tokens"
)

// guidePlan is what a "guidellm benchmark run" command asks for, in openloop's terms. It is made without looking at the
// endpoint, so that whatever openloop can't do is refused first.
type guidePlan struct {
	args  guidellm.Args // as GuideLLM echoes them, credentials left out
	notes []string      // what was taken and has no effect, or another one than in GuideLLM

	strategies []loadgen.Load // nil for a sweep
	sweepSize  int

	requestType string
	noStream    bool
	freeLength  int    // output tokens of records that do not say; 0: free
	extraBody   string // JSON object
	header      http.Header

	data    string
	columns map[string][]string // of a file's records; nil: GuideLLM's default names
	samples int                 // 0: all

	verify         bool
	http2          bool
	outputs        []string
	outputDir      string
	sampleRequests int
	limited        bool // by time or by requests
	noConsole      bool
	noProgress     bool
	over           *oversaturation.Config // nil: off
	processor      string                 // path of a tokenizer.json, "" for the endpoint's own count
}

// noLimit is the length in seconds of a stage without a limit: as long as openloop lets a stage be.
const noLimit = 1e7

// planGuide reads the merged arguments.
func planGuide(v guideValues, environment func(string) string) (*guidePlan, error) {
	p := &guidePlan{args: guidellm.DefaultArgs(), header: http.Header{}, verify: true}
	for _, read := range []func(guideValues) error{
		p.readTarget, p.readBackend, p.readRequests, p.readData, p.readOutputs, p.readLimits, p.readSaturation,
	} {
		if err := read(v); err != nil {
			return nil, err
		}
	}
	if err := p.readProfile(v, environment); err != nil {
		return nil, err
	}
	p.noteSettings(environment)
	return p, nil
}

func (p *guidePlan) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

// flagOf names a field as its flag.
func flagOf(field string) string { return "--" + strings.ReplaceAll(field, "_", "-") }

func (v guideValues) text(field string) (string, bool, error) {
	switch t := v[field].(type) {
	case nil:
		return "", false, nil
	case string:
		return t, true, nil
	}
	return "", false, usageError("%s %v: want a text", flagOf(field), v[field])
}

// number reads a number, or the text of one as key=value pairs give it.
func numberValue(x any) (float64, bool) {
	switch t := x.(type) {
	case int64:
		return float64(t), true
	case float64:
		return t, true
	case string:
		f, err := strconv.ParseFloat(strings.TrimSpace(t), 64)
		return f, err == nil
	}
	return 0, false
}

func (v guideValues) number(field string) (float64, bool, error) {
	if v[field] == nil {
		return 0, false, nil
	}
	x, ok := numberValue(v[field])
	if !ok || math.IsNaN(x) {
		return 0, false, usageError("%s %v: want a number", flagOf(field), v[field])
	}
	return x, true, nil
}

func (v guideValues) whole(field string) (int64, bool, error) {
	x, ok, err := v.number(field)
	if ok && (x != math.Trunc(x) || math.Abs(x) > 1<<53) {
		return 0, false, usageError("%s %v: want a whole number", flagOf(field), v[field])
	}
	return int64(x), ok, err
}

func (v guideValues) object(field string) (guidellm.Object, error) {
	switch t := v[field].(type) {
	case nil:
		return nil, nil
	case guidellm.Object:
		return t, nil
	}
	return nil, usageError("%s %v: want a JSON object or key=value pairs", flagOf(field), v[field])
}

// list reads a list, or a single value as a list of it.
func (v guideValues) list(field string) []any {
	switch t := v[field].(type) {
	case nil:
		return nil
	case []any:
		return t
	default:
		return []any{t}
	}
}

func (p *guidePlan) readTarget(v guideValues) error {
	target, _, err := v.text("target")
	if err != nil {
		return err
	}
	if target == "" {
		return usageError("no target: give --target http://host:port (or GUIDELLM_TARGET, or a scenario that names one)")
	}
	p.args.Target = target
	if model, ok, err := v.text("model"); err != nil {
		return err
	} else if ok && model != "" {
		p.args.Model = guidellm.Some(model)
	}
	seed, ok, err := v.whole("random_seed")
	if ok {
		p.args.RandomSeed = seed
	}
	p.noConsole = v["disable_console"] == true
	p.noProgress = p.noConsole || v["disable_console_interactive"] == true
	return err
}

// readBackend reads --backend-kwargs: the constructor's arguments of GuideLLM's OpenAIHTTPBackend.
func (p *guidePlan) readBackend(v guideValues) error {
	if kind, ok, err := v.text("backend"); err != nil {
		return err
	} else if ok && kind != "openai_http" {
		return usageError("--backend %q: openloop speaks to OpenAI-compatible endpoints over HTTP, which is openai_http", kind)
	}
	settings, err := v.object("backend_kwargs")
	if err != nil || settings == nil {
		return err
	}
	p.args.BackendKwargs = settings
	for _, m := range settings {
		on, isBool := boolOf(m.Value)
		switch m.Key {
		case "verify":
			if !isBool {
				return usageError("--backend-kwargs: verify is true or false, not %v", m.Value)
			}
			p.verify = on
		case "http2":
			if !isBool {
				return usageError("--backend-kwargs: http2 is true or false, not %v", m.Value)
			}
			p.http2 = on
		case "timeout":
			if x, ok := numberValue(m.Value); m.Value != nil && (!ok || x <= 0) {
				return usageError("--backend-kwargs: timeout is a number of seconds above 0, not %v", m.Value)
			}
			p.note("--backend-kwargs timeout has no effect: it limits each silence of the server, after which GuideLLM counts an error; openloop waits, and what the stage's end cuts off is incomplete")
		case "follow_redirects":
			if on {
				p.note("--backend-kwargs follow_redirects has no effect: openloop follows no redirect, it reports it as an error")
			}
		case "validate_backend":
			p.note("--backend-kwargs validate_backend has no effect: openloop asks for the models and sends one trial request before any load")
		case "api_routes":
			if err := checkRoutes(m.Value); err != nil {
				return err
			}
		case "response_handlers":
			return usageError("--backend-kwargs response_handlers names Python classes, which openloop has not")
		default:
			return usageError("--backend-kwargs: %q is no setting of GuideLLM's openai_http backend; they are timeout, http2, follow_redirects, verify, validate_backend, api_routes", m.Key)
		}
	}
	return nil
}

func boolOf(v any) (value, ok bool) {
	switch t := v.(type) {
	case bool:
		return t, true
	case string:
		switch strings.ToLower(t) {
		case "true", "1", "yes", "on":
			return true, true
		case "false", "0", "no", "off":
			return false, true
		}
	}
	return false, false
}

func checkRoutes(v any) error {
	routes, _ := v.(guidellm.Object)
	for _, m := range routes {
		want := map[string]string{"models": "v1/models", "text_completions": "v1/completions", "chat_completions": "v1/chat/completions"}[m.Key]
		if want != "" && m.Value != want {
			return usageError("--backend-kwargs api_routes: openloop asks at %s under the target, not at %v; give a target under which it is there", want, m.Value)
		}
	}
	return nil
}

// readRequests reads the kind of request and its formatter's settings.
func (p *guidePlan) readRequests(v guideValues) error {
	var settings guidellm.Object
	p.requestType = "chat_completions"
	switch t := v["data_request_formatter"].(type) {
	case nil:
	case string:
		p.requestType = t
		p.args.DataRequestFormatter = t
	case guidellm.Object:
		settings = t
		if kind, ok := t.Get("request_type").(string); ok {
			p.requestType = kind
		}
		p.args.DataRequestFormatter = redactFormatter(t)
	default:
		return usageError("--request-type %v: want a text", t)
	}
	switch p.requestType {
	case "chat_completions", "text_completions":
	case "audio_transcriptions", "audio_translations":
		return usageError("--request-type %s: openloop sends text alone, no audio", p.requestType)
	default:
		return usageError("--request-type %q: it is chat_completions or text_completions", p.requestType)
	}
	for _, m := range settings {
		switch m.Key {
		case "request_type":
		case "stream":
			on, ok := boolOf(m.Value)
			if !ok {
				return usageError("--request-formatter-kwargs: stream is true or false, not %v", m.Value)
			}
			p.noStream = !on
		case "max_tokens", "max_completion_tokens":
			n, ok := numberValue(m.Value)
			if m.Value == nil {
				continue
			}
			if !ok || n < 1 || n != math.Trunc(n) {
				return usageError("--request-formatter-kwargs: %s is a whole number above 0, not %v", m.Key, m.Value)
			}
			if p.freeLength == 0 || m.Key == "max_tokens" { // GuideLLM: max_tokens or max_completion_tokens
				p.freeLength = int(n)
			}
		case "extras":
			if err := p.readExtras(m.Value); err != nil {
				return err
			}
		case "encode_kwargs":
			if o, ok := m.Value.(guidellm.Object); m.Value != nil && (!ok || len(o) > 0) {
				return usageError("--request-formatter-kwargs encode_kwargs is for images, video and audio; openloop sends text alone")
			}
		default:
			return usageError("--request-formatter-kwargs: %q is no setting of GuideLLM's formatter; they are extras, stream, max_tokens, max_completion_tokens", m.Key)
		}
	}
	if prefer, ok := boolOf(v["prefer_response_metrics"]); ok && !prefer {
		return usageError("prefer_response_metrics false: openloop reports the server's own token counts wherever it gives them")
	}
	return nil
}

// readExtras reads what is added to every request.
func (p *guidePlan) readExtras(v any) error {
	extras, ok := v.(guidellm.Object)
	if !ok && v != nil {
		return usageError("--request-formatter-kwargs: extras is an object of body and headers, not %v", v)
	}
	for _, m := range extras {
		switch m.Key {
		case "body":
			text, err := jsonText(m.Value)
			if _, ok := m.Value.(guidellm.Object); !ok || err != nil {
				return usageError("--request-formatter-kwargs: extras.body is an object, not %v", m.Value)
			}
			p.extraBody = text
		case "headers":
			headers, ok := m.Value.(guidellm.Object)
			if !ok {
				return usageError("--request-formatter-kwargs: extras.headers is an object of texts")
			}
			for _, h := range headers {
				text, ok := h.Value.(string)
				if !ok || strings.ContainsAny(h.Key+text, "\r\n") {
					return usageError("--request-formatter-kwargs: extras.headers: the value of %q is no text of one line", h.Key)
				}
				p.header.Set(h.Key, text)
			}
		case "stream":
			if on, ok := boolOf(m.Value); ok {
				p.noStream = !on
			}
		default:
			if m.Value != nil {
				return usageError("--request-formatter-kwargs: extras.%s: openloop adds to the body and to the headers only", m.Key)
			}
		}
	}
	return nil
}

// redactFormatter is the formatter's settings without the values of headers: keys travel there.
func redactFormatter(o guidellm.Object) guidellm.Object {
	out := slices.Clone(o)
	for i, m := range out {
		extras, ok := m.Value.(guidellm.Object)
		if m.Key != "extras" || !ok {
			continue
		}
		extras = slices.Clone(extras)
		for k, e := range extras {
			headers, ok := e.Value.(guidellm.Object)
			if e.Key != "headers" || !ok {
				continue
			}
			headers = slices.Clone(headers)
			for n := range headers {
				headers[n].Value = "[redacted]"
			}
			extras[k].Value = headers
		}
		out[i].Value = extras
	}
	return out
}

// jsonText writes a value as JSON.
func jsonText(v any) (string, error) {
	switch t := v.(type) {
	case guidellm.Object:
		var parts []string
		for _, m := range t {
			key, err := json.Marshal(m.Key)
			if err != nil {
				return "", err
			}
			value, err := jsonText(m.Value)
			if err != nil {
				return "", err
			}
			parts = append(parts, string(key)+":"+value)
		}
		return "{" + strings.Join(parts, ",") + "}", nil
	case []any:
		var parts []string
		for _, item := range t {
			text, err := jsonText(item)
			if err != nil {
				return "", err
			}
			parts = append(parts, text)
		}
		return "[" + strings.Join(parts, ",") + "]", nil
	}
	text, err := json.Marshal(v)
	return string(text), err
}

// fileEndings are those of the files of records and of configurations that openloop reads.
var fileEndings = []string{".jsonl", ".json", ".csv", ".txt", ".text", ".parquet", ".yaml", ".yml", ".config"}

// readData reads --data and what goes with it.
func (p *guidePlan) readData(v guideValues) error {
	sources := v.list("data")
	switch len(sources) {
	case 0:
		return usageError("no data: give --data 'prompt_tokens=256,output_tokens=128', a file of records, or a --scenario (chat, rag)")
	case 1:
	default:
		return usageError("--data was given %d times: GuideLLM joins the columns of several data sets, openloop reads one", len(sources))
	}
	switch t := sources[0].(type) {
	case string:
		p.data = strings.TrimSpace(t)
		p.args.Data = []string{t}
	case guidellm.Object:
		text, err := jsonText(t)
		if err != nil {
			return usageError("--data: %w", err)
		}
		p.data, p.args.Data = text, []string{text}
	default:
		return usageError("--data %v: want a text or an object", t)
	}
	if err := p.checkSource(); err != nil {
		return err
	}
	if err := p.readDataArgs(v); err != nil {
		return err
	}
	if n, ok, err := v.whole("data_samples"); err != nil {
		return err
	} else if ok {
		p.args.DataSamples = n
		p.samples = int(max(0, n))
	}
	switch t := v["data_column_mapper"].(type) {
	case nil:
	case string:
		if t != "generative_column_mapper" {
			return usageError("--data-column-mapper %q: want a JSON object of columns", t)
		}
	case guidellm.Object:
		p.args.DataColumnMapper = t
		if err := p.readColumns(t); err != nil {
			return err
		}
	default:
		return usageError("--data-column-mapper %v: want a JSON object of columns", t)
	}
	switch v["data_sampler"] {
	case nil:
	case "shuffle":
		p.args.DataSampler = "shuffle"
	default:
		return usageError("--data-sampler %v: it is shuffle", v["data_sampler"])
	}
	if n, ok, err := v.whole("data_num_workers"); err != nil {
		return err
	} else if ok {
		p.args.DataNumWorkers = guidellm.Some(n)
	}
	if o, err := v.object("dataloader_kwargs"); err != nil {
		return err
	} else if o != nil {
		p.args.DataloaderKwargs = o
		p.note("--dataloader-kwargs has no effect: openloop has no loader of PyTorch's")
	}
	return p.readProcessor(v)
}

// checkSource refuses data sets on a hub and files of other kinds, with the reason.
func (p *guidePlan) checkSource() error {
	if _, synthetic, err := tokens.ParseSynthetic(p.data); err != nil {
		return usageError("--data: %w", err)
	} else if synthetic || strings.HasPrefix(p.data, "[") {
		return nil
	}
	info, err := os.Stat(p.data)
	switch {
	case err == nil && info.IsDir():
		return usageError("--data %s is a folder: openloop reads a single file of records (%s), not a data set saved as a folder", p.data, strings.Join(fileEndings[:6], ", "))
	case err == nil:
		ending := strings.ToLower(filepath.Ext(strings.TrimSuffix(p.data, ".gz")))
		if !slices.Contains(fileEndings, ending) {
			return usageError("--data %s: openloop reads %s, each also compressed by gzip; convert the file first", p.data, strings.Join(fileEndings[:6], ", "))
		}
		return nil
	case filepath.Ext(p.data) != "" && slices.Contains(fileEndings, strings.ToLower(filepath.Ext(strings.TrimSuffix(p.data, ".gz")))):
		return usageError("--data %s: there is no such file", p.data)
	}
	return usageError("--data %s is neither a file nor a description of synthetic data. If it names a data set on a hub: openloop downloads none; save it as a file of records and name that", p.data)
}

func (p *guidePlan) readDataArgs(v guideValues) error {
	list := v.list("data_args")
	if len(list) > 1 {
		return usageError("--data-args was given %d times for one --data", len(list))
	}
	if len(list) == 0 || list[0] == nil {
		return nil
	}
	o, ok := list[0].(guidellm.Object)
	if !ok {
		return usageError("--data-args %v: want a JSON object or key=value pairs", list[0])
	}
	p.args.DataArgs = []any{o}
	for _, m := range o {
		kind, _ := m.Value.(string)
		switch {
		case m.Key == "type_" && slices.Contains([]string{"synthetic_text", "json_file", "csv_file", "text_file", "parquet_file", "in_memory_json_str"}, kind):
		case m.Key == "type_":
			return usageError("--data-args: type_ %v: openloop reads synthetic_text, json_file, csv_file, text_file and parquet_file", m.Value)
		case m.Key == "resolve_split":
		default:
			return usageError("--data-args: %q is an argument of a Python library that openloop does without; prepare the file of records instead", m.Key)
		}
	}
	return nil
}

// readColumns reads --data-column-mapper.
func (p *guidePlan) readColumns(o guidellm.Object) error {
	p.columns = map[string][]string{}
	for _, m := range o {
		switch m.Key {
		case "image_column", "video_column", "audio_column":
			return usageError("--data-column-mapper: %s: openloop sends text alone", m.Key)
		case "text_column", "prefix_column", "prompt_tokens_count_column", "output_tokens_count_column":
		default:
			return usageError("--data-column-mapper: %q is no kind of column; they are text_column, prefix_column, prompt_tokens_count_column, output_tokens_count_column", m.Key)
		}
		names := []string{}
		switch t := m.Value.(type) {
		case string:
			names = append(names, t)
		case []any:
			for _, name := range t {
				text, ok := name.(string)
				if !ok {
					return usageError("--data-column-mapper: %s: %v is no name of a column", m.Key, name)
				}
				names = append(names, text)
			}
		default:
			return usageError("--data-column-mapper: %s: want a name or a list of names, not %v", m.Key, m.Value)
		}
		p.columns[m.Key] = names
	}
	return nil
}

// readProcessor finds a tokenizer.json where --processor names one.
func (p *guidePlan) readProcessor(v guideValues) error {
	name, ok, err := v.text("processor")
	if err != nil {
		return err
	}
	if ok {
		p.args.Processor = guidellm.Some(name)
		path := name
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			path = filepath.Join(path, "tokenizer.json")
		}
		if _, err := os.Stat(path); err == nil {
			p.processor = path
		} else {
			p.note("--processor %s is no file here: lengths are made by what the endpoint counts", name)
		}
	}
	o, err := v.object("processor_args")
	if o != nil {
		p.args.ProcessorArgs = o
		p.note("--processor-args has no effect: a tokenizer.json needs no arguments")
	}
	return err
}

// readOutputs reads where the results go.
func (p *guidePlan) readOutputs(v guideValues) error {
	p.outputDir = "."
	if dir, ok, err := v.text("output_dir"); err != nil {
		return err
	} else if ok && dir != "" {
		p.outputDir = dir
	}
	p.args.OutputDir = p.outputDir
	asked := v.list("outputs")
	if asked != nil {
		p.args.Outputs = nil
		for _, o := range asked {
			text, ok := o.(string)
			if !ok {
				return usageError("--outputs %v: want a text", o)
			}
			p.args.Outputs = append(p.args.Outputs, text)
		}
	}
	for _, name := range p.args.Outputs {
		if name == "console" { // printed in any case
			continue
		}
		if _, err := guidellm.ParseOutputs([]string{name}); err != nil {
			if strings.HasSuffix(name, "html") && asked == nil {
				p.note("the html that GuideLLM writes by default is not written")
				continue
			}
			return usageError("--outputs: %w", err)
		}
		p.outputs = append(p.outputs, name)
	}
	n, ok, err := v.whole("sample_requests")
	p.sampleRequests = 10
	if ok {
		p.args.SampleRequests = guidellm.Some(n)
		p.sampleRequests = int(max(0, n))
	} else if value, given := v["sample_requests"]; given && value == nil {
		p.args.SampleRequests = guidellm.Null[int64]{}
		p.sampleRequests = math.MaxInt32
	}
	return err
}

// readLimits reads what ends a stage and what is left out of it.
func (p *guidePlan) readLimits(v guideValues) error {
	seconds, hasSeconds, err := v.number("max_seconds")
	if err != nil {
		return err
	}
	if hasSeconds {
		if !(seconds > 0) || seconds > noLimit {
			return usageError("--max-seconds %v: it must be above 0 and at most %.0f", seconds, float64(noLimit))
		}
		p.args.MaxSeconds = v["max_seconds"]
	}
	for _, limit := range []struct {
		field string
		to    *guidellm.Null[int64]
	}{{"max_requests", &p.args.MaxRequests}, {"max_errors", &p.args.MaxErrors}} {
		n, ok, err := v.whole(limit.field)
		if err != nil {
			return err
		}
		if ok && n < 1 {
			return usageError("%s %d: it must be at least 1", flagOf(limit.field), n)
		}
		if ok {
			*limit.to = guidellm.Some(n)
		}
	}
	for _, limit := range []struct {
		field string
		to    *guidellm.Null[float64]
	}{{"max_error_rate", &p.args.MaxErrorRate}, {"max_global_error_rate", &p.args.MaxGlobalErrorRate}} {
		x, ok, err := v.number(limit.field)
		if err != nil {
			return err
		}
		if ok && !(x > 0 && x < 1) {
			return usageError("%s %v: it must lie between 0 and 1", flagOf(limit.field), x)
		}
		if ok {
			*limit.to = guidellm.Some(x)
		}
	}
	p.limited = hasSeconds || p.args.MaxRequests.Valid
	rampup, _, err := v.number("rampup")
	if err != nil {
		return err
	}
	if rampup < 0 || math.IsInf(rampup, 0) {
		return usageError("--rampup %v: it can't be negative", rampup)
	}
	p.args.Rampup = rampup
	if p.args.Warmup, err = transientValue("warmup", v["warmup"]); err != nil {
		return err
	}
	p.args.Cooldown, err = transientValue("cooldown", v["cooldown"])
	if !p.limited && (p.args.Warmup != nil || p.args.Cooldown != nil) {
		p.note("--warmup and --cooldown have no effect on a stage without a limit")
	}
	return err
}

// transientValue checks a warmup or cooldown: a number, or an object of percent, value and mode.
func transientValue(field string, v any) (any, error) {
	switch t := v.(type) {
	case nil:
		return nil, nil
	case int64, float64:
		if x, _ := numberValue(t); !(x >= 0) || math.IsInf(x, 0) {
			return nil, usageError("--%s %v: it can't be negative", field, t)
		}
		return t, nil
	case guidellm.Object:
		out := guidellm.Object{}
		for _, m := range t {
			switch m.Key {
			case "percent", "value":
				if m.Value == nil {
					continue
				}
				x, ok := numberValue(m.Value)
				if !ok || !(x >= 0) || math.IsInf(x, 0) || m.Key == "percent" && x >= 1 {
					return nil, usageError("--%s: %s %v: it is a number from 0, and a percent is below 1", field, m.Key, m.Value)
				}
				out = append(out, guidellm.Member{Key: m.Key, Value: x})
			case "mode":
				if !slices.Contains([]any{"duration", "requests", "prefer_duration", "prefer_requests", "both"}, m.Value) {
					return nil, usageError("--%s: mode %v: it is duration, requests, prefer_duration, prefer_requests or both", field, m.Value)
				}
				out = append(out, m)
			default:
				return nil, usageError("--%s: %q is not known; an object has percent, value and mode", field, m.Key)
			}
		}
		return out, nil
	}
	return nil, usageError("--%s %v: it is a number, or an object of percent, value and mode", field, v)
}

// readSaturation reads --over-saturation. Its keys are those of GuideLLM's OverSaturationConstraintInitializer.
func (p *guidePlan) readSaturation(v guideValues) error {
	o, err := v.object("over_saturation")
	if err != nil || o == nil {
		return err
	}
	p.args.OverSaturation = o
	c := oversaturation.Defaults()
	known := false
	for _, m := range o {
		x, isNumber := numberValue(m.Value)
		if m.Key == "enabled" {
			on, ok := boolOf(m.Value)
			if !ok {
				return usageError("--over-saturation: enabled is true or false, not %v", m.Value)
			}
			c.Enabled, known = on, true
			continue
		}
		to, share := map[string]*float64{
			"min_seconds": &c.MinSeconds, "max_window_seconds": &c.MaxWindow, "moe_threshold": &c.MOEThreshold,
			"minimum_ttft": &c.MinTTFT, "maximum_window_ratio": &c.MaxWindowRatio, "confidence": &c.Confidence,
		}[m.Key], m.Key == "maximum_window_ratio" || m.Key == "confidence"
		switch {
		case m.Key == "minimum_window_size":
			c.MinWindowSize = int(x)
		case to != nil:
			*to = x
		default:
			p.note("--over-saturation: %q is no setting and has no effect, as in GuideLLM", m.Key)
			continue
		}
		if !isNumber || !(x >= 0) || share && x > 1 || math.IsInf(x, 0) {
			return usageError("--over-saturation: %s %v: it can't be negative, and a ratio or a confidence is at most 1", m.Key, m.Value)
		}
		known = true
	}
	if known && c.Enabled {
		p.over = &c
	}
	return nil
}

// readProfile reads --profile and --rate.
func (p *guidePlan) readProfile(v guideValues, environment func(string) string) error {
	profile, ok, err := v.text("profile")
	if err != nil {
		return err
	}
	if ok {
		if !slices.Contains(guideProfiles, profile) {
			return usageError("--profile %q: it is one of %s", profile, strings.Join(guideProfiles, ", "))
		}
		p.args.Profile = profile
	}
	var rates []float64
	for _, item := range v.list("rate") {
		x, ok := numberValue(item)
		if !ok || !(x > 0) || math.IsInf(x, 0) {
			return usageError("--rate %v: it must be a number above 0", item)
		}
		rates = append(rates, x)
	}
	p.args.Rate = rates
	seed := p.args.RandomSeed
	switch profile := p.args.Profile; profile {
	case "sweep":
		p.sweepSize = 10
		if text := environment("GUIDELLM__DEFAULT_SWEEP_NUMBER"); text != "" {
			n, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil {
				return usageError("GUIDELLM__DEFAULT_SWEEP_NUMBER %q: want a whole number", text)
			}
			p.sweepSize = n
		}
		if len(rates) > 0 {
			p.sweepSize = int(rates[0])
		}
		if p.sweepSize < 2 {
			return usageError("--rate %v: for a sweep it is the number of stages, at least 2", rates)
		}
	case "synchronous":
		if len(rates) > 0 {
			return usageError("--profile synchronous takes no --rate: it sends one request after the other")
		}
		p.strategies = []loadgen.Load{{Kind: loadgen.Synchronous, Streams: 1}}
	case "throughput":
		if len(rates) == 0 {
			return usageError("--profile throughput needs --rate, the number of streams")
		}
		if rates[0] != math.Trunc(rates[0]) {
			return usageError("--rate %v: a number of streams is whole", rates[0])
		}
		p.strategies = []loadgen.Load{{Kind: loadgen.Throughput, Streams: int(rates[0])}}
	case "concurrent":
		for _, r := range rates {
			if int(r) < 1 {
				return usageError("--rate %v: at least one stream is needed", r)
			}
			p.strategies = append(p.strategies, loadgen.Load{Kind: loadgen.Concurrent, Streams: int(r)})
		}
	default: // async, constant, poisson
		kind := loadgen.ConstantGap
		if profile == "poisson" {
			kind = loadgen.PoissonGaps
		}
		for _, r := range rates {
			p.strategies = append(p.strategies, loadgen.Load{Kind: kind, Rate: r, Seed: seed})
		}
	}
	if p.args.Profile != "sweep" && len(p.strategies) == 0 {
		return usageError("--profile %s needs --rate", p.args.Profile)
	}
	return nil
}

// noteSettings tells of GuideLLM's own settings in the environment, most of which are about its worker processes.
func (p *guidePlan) noteSettings(environment func(string) string) {
	for _, name := range []string{"MAX_CONCURRENCY", "CONSTRAINT_ERROR_WINDOW_SIZE", "CONSTRAINT_ERROR_MIN_PROCESSED", "PREFERRED_ROUTE"} {
		if text := environment("GUIDELLM__" + name); text != "" {
			switch name {
			case "MAX_CONCURRENCY":
				p.note("GUIDELLM__MAX_CONCURRENCY has no effect: openloop's arrivals never wait for others (--max-concurrency is its safety limit)")
			default:
				p.note("GUIDELLM__%s has no effect", name)
			}
		}
	}
}
