package cli

import (
	"strings"
	"testing"
)

// What openloop can't do, or GuideLLM would not take, is refused by name before anything is tried.
func TestRefusals(t *testing.T) {
	for args, want := range map[string]string{
		"--request-type audio_translations":                              "openloop sends text alone, no audio",
		"--request-type images":                                          "it is one of text_completions",
		"--profile ramp --rate 3":                                        "it is one of synchronous",
		"--profile constant":                                             "--profile constant needs --rate",
		"--profile concurrent":                                           "--profile concurrent needs --rate",
		"--profile throughput":                                           "--profile throughput needs --rate",
		"--profile synchronous --rate 1":                                 "takes no --rate",
		"--profile constant --rate 0":                                    "must be a number above 0",
		"--profile constant --rate x":                                    "is not a number",
		"--profile concurrent --rate 0.5":                                "at least one stream",
		"--profile throughput --rate 1.5":                                "whole",
		"--rate 1":                                                       "at least 2",
		"--backend python":                                               "it is one of openai_http",
		"--backend-kwargs a=1":                                           `"a" is not a setting`,
		"--backend-kwargs {":                                             "not valid JSON",
		"--backend-kwargs 5":                                             "want a JSON object or key=value pairs",
		"--backend-kwargs verify=maybe":                                  "verify is true or false",
		"--backend-kwargs timeout=-1":                                    "above 0",
		`--backend-kwargs {"response_handlers":{}}`:                      "Python classes",
		`--backend-kwargs {"api_routes":{"chat_completions":"x"}}`:       "v1/chat/completions",
		`--request-formatter-kwargs {"encode_kwargs":{"image":{}}}`:      "text alone",
		`--request-formatter-kwargs {"extras":{"files":{"a":1}}}`:        "body and to the headers only",
		`--request-formatter-kwargs {"extras":{"headers":{"a":"b\nc"}}}`: "one line",
		`--request-formatter-kwargs {"max_tokens":0}`:                    "above 0",
		`--request-formatter-kwargs {"what":0}`:                          `"what" is not a setting`,
		"--data more.jsonl":                                              "--data was given 2 times",
		"--data-args a=1":                                                "a Python library",
		"--data-args type_=huggingface_dataset":                          "openloop reads synthetic_text",
		`--data-column-mapper {"image_column":"i"}`:                      "text alone",
		`--data-column-mapper {"name":"i"}`:                              "not a kind of column",
		`--data-column-mapper {"text_column":3}`:                         "want a name or a list",
		"--data-sampler random":                                          "it is one of shuffle",
		"--data-samples x":                                               "not a whole number",
		"--outputs pdf":                                                  "--outputs",
		"--output-path a.json --output-dir b":                            "contradict",
		"--max-seconds 0":                                                "above 0",
		"--max-seconds -1":                                               "above 0",
		"--max-requests 0":                                               "at least 1",
		"--max-errors 0":                                                 "at least 1",
		"--max-error-rate 1":                                             "between 0 and 1",
		"--max-global-error-rate 0":                                      "between 0 and 1",
		"--rampup -1":                                                    "can't be negative",
		"--warmup -0.1":                                                  "can't be negative",
		"--warmup soon":                                                  "a number, or an object",
		`--warmup {"percent":1.5}`:                                       "a percent is below 1",
		`--warmup {"mode":"never"}`:                                      "mode never",
		`--warmup {"length":3}`:                                          `"length" is not known`,
		"--max-seconds 10 --warmup 0.5 --cooldown 0.5":                   "leave nothing",
		"--max-seconds 10 --warmup 8 --cooldown 3":                       "leave nothing",
		`--over-saturation {"confidence":2}`:                             "at most 1",
		`--over-saturation {"min_seconds":"x"}`:                          "min_seconds x",
		"--over-saturation true":                                         "want a JSON object",
		"--no-such-flag":                                                 "unknown flag",
	} {
		_, err := read(append(words(baseLine), strings.Split(args, " ")...), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	for data, want := range map[string]string{
		"openai/gsm8k":                    "openloop downloads none",
		"nothing.jsonl":                   "there is no such file",
		"prompt_tokens=x,output_tokens=4": "--data",
		"":                                "no data",
	} {
		_, err := read([]string{"--target", "http://h:1", "--data", data}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("data %q: %v, want %q", data, err, want)
		}
	}
	for line, want := range map[string]string{
		"--data prompt_tokens=8,output_tokens=4": "no target",
		"--target http://h:1":                    "no data",
		"--target h:1 --data x":                  "--target: \"h:1\" has no scheme",
		"--target http://h:1?a=b --data x":       "query or fragment",
	} {
		if _, err := read(words(line), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}
