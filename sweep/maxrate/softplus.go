package maxrate

import (
	"math"
	"sync"
)

// Logits are cut off at ±maxLogit: beyond, a probability is 0 or 1 for every purpose here.
const (
	maxLogit     = 35
	softplusStep = 1. / 1024
)

// softplusTable has ln(1 + exp z) at every step. The fit asks for it millions of times; between its entries a line is
// right to 3·10⁻⁸.
var softplusTable = sync.OnceValue(func() []float64 {
	table := make([]float64, 2*maxLogit*1024+2)
	for i := range table {
		table[i] = math.Log1p(math.Exp(float64(i)*softplusStep - maxLogit))
	}
	return table
})

// softplus is ln(1 + exp z) = −ln(1 − expit z), for z between ±maxLogit.
func softplus(table []float64, z float64) float64 {
	at := (z + maxLogit) * (1 / softplusStep)
	i := int(at)
	return table[i] + (table[i+1]-table[i])*(at-float64(i))
}
