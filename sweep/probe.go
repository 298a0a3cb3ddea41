package sweep

// Probe is what the saturation probe found.
type Probe struct{}
