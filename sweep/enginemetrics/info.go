package enginemetrics

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openloop/openloop/endpoint"
	"github.com/openloop/openloop/loadgen/stream"
)

// Info is what an engine says of its build and its configuration.
type Info struct {
	Name    string `json:"name"`              // vLLM, SGLang, TGI or llmsim; "" where it is not known
	Version string `json:"version,omitempty"` // as it gives it
	// Config is its configuration as far as it tells, by the names that it uses (vllm:cache_config_info, SGLang's
	// /get_server_info): max_num_seqs, enable_prefix_caching. Nothing in it is a secret.
	Config map[string]string `json:"config,omitempty"`
}

// String is name and version: "vLLM 0.23.0". It is empty where neither is known.
func (i *Info) String() string {
	if i == nil {
		return ""
	}
	return strings.TrimSpace(i.Name + " " + i.Version)
}

// MaxRunning is how many requests the engine runs at once, at most; 0 where it does not say.
func (i *Info) MaxRunning() int {
	return i.number("max_num_seqs", "max_running_requests")
}

// MaxContext is the longest prompt and output together, in tokens; 0 where it does not say.
func (i *Info) MaxContext() int {
	if i != nil && i.Name == "TGI" {
		return i.number("max_total_tokens")
	}
	return i.number("max_model_len", "context_length")
}

// number is the first of these settings that is a number above 0; 0 where none is.
func (i *Info) number(names ...string) int {
	if i == nil {
		return 0
	}
	for _, name := range names {
		if n, err := strconv.Atoi(i.Config[name]); err == nil && n > 0 {
			return n
		}
	}
	return 0
}

// PrefixCaching says whether the engine reuses the prefixes of prompts; known is false where it does not say.
func (i *Info) PrefixCaching() (on, known bool) {
	if i == nil {
		return false, false
	}
	if v, ok := i.Config["disable_radix_cache"]; ok { // SGLang
		off, err := strconv.ParseBool(v)
		return !off, err == nil
	}
	on, err := strconv.ParseBool(i.Config["enable_prefix_caching"])
	return on, err == nil
}

// Asker asks an endpoint what serves it.
type Asker struct {
	Base    endpoint.Address  // of the API; what is asked lies at the root of its host
	Headers []endpoint.Header // of every request to that host
	Client  *http.Client      // nil: http.Client's zero value
	Metrics *Source           // the engine's metrics; nil: not to be read
	Models  []endpoint.Model  // as the endpoint lists them
	Model   string            // the one that is asked for
	// ListOnly says that nothing is asked: what the list of models tells is all.
	ListOnly bool
}

// The limits of an answer about the engine. Nobody is kept waiting for what is good to know only.
const (
	infoTime  = 2 * time.Second
	infoLimit = 1 << 20
)

// Ask asks; nil where nothing came of it. Nothing that fails here is worth a word: most endpoints answer nothing of it.
func (a Asker) Ask(ctx context.Context) *Info {
	redactor := newRedactor(a.Headers, a.Base)
	if a.Metrics != nil {
		redactor = newRedactor(slices.Concat(a.Headers, a.Metrics.Headers), a.Metrics.Address)
	}
	info := &Info{Config: map[string]string{}}
	info.takeModels(a.Models, a.Model, redactor)
	if a.Metrics != nil {
		if samples, err := a.Metrics.samples(ctx); err == nil {
			info.takeMetrics(samples, redactor)
		}
	}
	paths := infoPaths[info.Name]
	if a.ListOnly {
		paths = nil
	}
	answers := make([][]byte, len(paths))
	var asking sync.WaitGroup
	for n, path := range paths {
		asking.Go(func() {
			path, query, _ := strings.Cut(path, "?")
			m := Source{Address: a.Base.Root(path).WithQuery(query), Headers: a.Headers, Client: a.Client}
			answers[n], _ = m.get(ctx, "application/json", infoTime, infoLimit)
		})
	}
	asking.Wait()
	for n, path := range paths {
		info.take(path, answers[n], redactor)
	}
	if info.Name == "" && info.Version == "" && len(info.Config) == 0 {
		return nil
	}
	return info
}

// Where engines say what they are. vLLM has its /server_info only with VLLM_SERVER_DEV_MODE=1.
const (
	pathVersion    = "/version"
	pathVLLM       = "/server_info?config_format=json"
	pathSGLang     = "/get_server_info"
	pathSGLangNew  = "/server_info"
	pathSGLangInfo = "/get_model_info"
	pathTGI        = "/info"
)

// infoPaths are what is asked of an engine, by its name as far as its metrics and its models tell.
var infoPaths = map[string][]string{
	"":       {pathVersion, pathSGLang, pathTGI},
	"vLLM":   {pathVersion, pathVLLM},
	"llmsim": {pathVersion, pathVLLM},
	"SGLang": {pathSGLang, pathSGLangNew, pathSGLangInfo},
	"TGI":    {pathTGI},
}

// owners are the engines by what they call themselves in the list of models.
var owners = map[string]string{
	"vllm": "vLLM", "sglang": "SGLang", "llmsim": "llmsim", "llamacpp": "llama.cpp", "lmdeploy": "LMDeploy",
}

// takeModels takes what the list of models tells: the engine, and the context of the model that is asked for.
func (i *Info) takeModels(models []endpoint.Model, asked string, redactor endpoint.Redactor) {
	for _, m := range models {
		if i.Name == "" {
			i.Name = owners[strings.ToLower(m.Owner)]
		}
		if m.Context > 0 && m.ID == asked {
			i.set("max_model_len", strconv.Itoa(m.Context), redactor)
		}
	}
}

// takeMetrics takes what metrics tell: the engine by their prefix, and the labels of vllm:cache_config_info.
func (i *Info) takeMetrics(samples []metricSample, redactor endpoint.Redactor) {
	prefixes := map[string]bool{}
	for _, s := range samples {
		prefix, _, _ := strings.Cut(s.name, ":")
		prefixes[prefix] = true
		if strings.HasPrefix(s.name, "tgi_") {
			prefixes["tgi"] = true
		}
	}
	for _, known := range []struct{ prefix, name string }{
		{"llmsim", "llmsim"}, {"vllm", "vLLM"}, {"sglang", "SGLang"}, {"tgi", "TGI"},
	} {
		if prefixes[known.prefix] {
			i.Name = known.name
			break
		}
	}
	const config = "vllm:cache_config_info"
	at := slices.IndexFunc(samples, func(s metricSample) bool { return s.name == config })
	if at < 0 {
		return
	}
	for name, value := range samples[at].labels {
		if name != "engine" && name != "model_name" {
			i.set(name, value, redactor)
		}
	}
}

// take takes an answer; what is not of its form is passed over.
func (i *Info) take(path string, answer []byte, redactor endpoint.Redactor) {
	var fields map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(answer)))
	decoder.UseNumber()
	if decoder.Decode(&fields) != nil || len(fields) == 0 {
		return
	}
	version, _ := fields["version"].(string)
	delete(fields, "version")
	switch path {
	case pathVLLM:
		for _, section := range vllmSections {
			i.takeSection(fields["vllm_config"], section.name, section.fields, redactor)
		}
		return
	case pathSGLang, pathSGLangNew, pathSGLangInfo:
		if fields["model_path"] == nil {
			return
		}
		i.Name = cmp.Or(i.Name, "SGLang")
	case pathTGI:
		if fields["model_id"] == nil {
			return
		}
		i.Name = cmp.Or(i.Name, "TGI")
	case pathVersion:
		fields = nil
	}
	i.Version = cmp.Or(i.Version, clean(version, redactor))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		i.setAny(name, fields[name], redactor)
	}
}

// vllmSections are what is read of vLLM's whole configuration.
var vllmSections = []struct {
	name   string
	fields []string
}{
	{"scheduler_config", []string{"max_num_seqs", "max_num_batched_tokens", "enable_chunked_prefill", "policy",
		"async_scheduling"}},
	{"parallel_config", []string{"tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"}},
	{"model_config", []string{"dtype", "quantization", "max_model_len", "enforce_eager"}},
}

func (i *Info) takeSection(config any, section string, fields []string, redactor endpoint.Redactor) {
	sections, _ := config.(map[string]any)
	values, _ := sections[section].(map[string]any)
	for _, name := range fields {
		i.setAny(name, values[name], redactor)
	}
}

// The most of a configuration that is kept.
const (
	mostSettings = 500
	longestName  = 80
	longestValue = 200
)

// setAny keeps a setting that is a single value.
func (i *Info) setAny(name string, value any, redactor endpoint.Redactor) {
	switch v := value.(type) {
	case string:
		i.set(name, v, redactor)
	case json.Number:
		i.set(name, v.String(), redactor)
	case bool:
		i.set(name, strconv.FormatBool(v), redactor)
	}
}

// set keeps a setting, unless it says nothing, or may hold a secret or a place on the server's disk or network.
func (i *Info) set(name, value string, redactor endpoint.Redactor) {
	value = strings.TrimSpace(value)
	switch value {
	case "", "None", "null", "[]":
		return
	}
	looksSecret := slices.ContainsFunc([]string{"sk-", "hf_", "Bearer ", "Basic "},
		func(prefix string) bool { return strings.HasPrefix(value, prefix) })
	if looksSecret || private(name) || strings.ContainsAny(value, "{@") || strings.Contains(value, "://") {
		return
	}
	if strings.HasPrefix(name, "_") || len(name) > longestName || len(value) > longestValue ||
		len(i.Config) >= mostSettings {
		return
	}
	i.Config[clean(name, redactor)] = clean(value, redactor)
}

func clean(text string, redactor endpoint.Redactor) string {
	return stream.Shorten(redactor.Redact(text), longestValue)
}

// privateWords are those in the name of a setting that is not kept.
var privateWords = []string{
	"key", "keys", "keyfile", "apikey", "token", "password", "passwd", "passphrase", "secret", "secrets", "credential",
	"credentials", "auth", "authorization", "cert", "certs", "certfile", "ssl", "jwt", "cookie", "header", "headers",
	"url", "urls", "uri", "host", "hostname", "port", "ports", "addr", "address", "ip", "path", "paths", "file", "dir",
	"folder", "env", "user", "username", "seed",
}

// private says whether a setting may be a secret or a place, by its name. The model's own path is its name.
func private(name string) bool {
	if name == "model_path" {
		return false
	}
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '_' || r == '-' || r == '.' })
	return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(privateWords, w) })
}
