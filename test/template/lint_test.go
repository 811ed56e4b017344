package template

import (
	"os/exec"
	"testing"
)

// TestLint: cfn-lint has nothing to say, warnings included.
func TestLint(t *testing.T) {
	python(t, "cfnlint.runner")
	out, err := exec.Command("python3", "-c", "import sys; from cfnlint.runner import main; sys.exit(main())", templateFile, alarmsFile).CombinedOutput()
	if err != nil {
		t.Errorf("cfn-lint: %v\n%s", err, out)
	}
}
