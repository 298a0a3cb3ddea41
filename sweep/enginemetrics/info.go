package enginemetrics

// Info is what an engine says of its build and its configuration.
type Info struct {
	Name    string `json:"name"`              // vLLM, SGLang, TGI or llmsim; "" where it is not known
	Version string `json:"version,omitempty"` // as it gives it
	// Config is its configuration as far as it tells, by the names that it uses (vllm:cache_config_info, SGLang's
	// /get_server_info): max_num_seqs, enable_prefix_caching. Nothing in it is a secret.
	Config map[string]string `json:"config,omitempty"`
}
