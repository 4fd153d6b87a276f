# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# ANSIBLE_ARGS goes to every playbook: make search ANSIBLE_ARGS='-e lab_seed=3 -e search_slot_count=1'
ANSIBLE_ARGS ?=
PYTEST_ARGS ?=
PART ?=
MUTANTS_ARGS ?=
LAB ?= inventory/lab

export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTEST_ARGS
export PATH := $(PATH):/usr/sbin:/sbin

play = .venv/bin/ansible-playbook -i $(LAB)
parts = .venv/bin/python tools/test_parts.py

.PHONY: help setup search tune lab-up lab-down lab-status cleanup test test-unit test-real test-full test-times mutants lint types sanity bench bench-full chaos clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

setup: ## Install what the commands below need; quick when nothing is missing
	@tools/setup.sh

search: setup ## Bring the lab up and search it for the best rack
	$(play) playbooks/lab.yml $(ANSIBLE_ARGS)
	$(play) playbooks/setup.yml $(ANSIBLE_ARGS)
	$(play) playbooks/search.yml $(ANSIBLE_ARGS)
	@printf '%s\n' '' 'The lab and the champion are still there: make lab-status shows them, make lab-down takes them down.'

tune: setup ## Search the lab with machines that boot, tune the survivor, reboot it and probe it again
	@tools/setup.sh vm
	$(play) playbooks/lab.yml -e lab_machines=true $(ANSIBLE_ARGS)
	$(play) playbooks/setup.yml -e lab_machines=true $(ANSIBLE_ARGS)
	$(play) playbooks/search.yml -e lab_machines=true -e search_max_rounds=2 $(ANSIBLE_ARGS)
	$(play) playbooks/tune_os.yml -e lab_machines=true -e os_tuning_reboot_ok=true $(ANSIBLE_ARGS)
	$(play) playbooks/verify_os.yml -e lab_machines=true $(ANSIBLE_ARGS)
	@printf '%s\n' '' 'The lab and the tuned survivor are still there: make lab-down takes them down.'

lab-up: setup ## Bring the lab up
	$(play) playbooks/lab.yml $(ANSIBLE_ARGS)

lab-down: setup ## Take the lab down without a trace
	$(play) playbooks/lab.yml -e lab_state=absent $(ANSIBLE_ARGS)

lab-status: setup ## Show the lab's instances
	$(play) playbooks/lab.yml -e lab_state=status $(ANSIBLE_ARGS)

cleanup: setup ## Remove what searches in the lab left, but for survivors
	$(play) playbooks/cleanup.yml $(ANSIBLE_ARGS)

test: setup ## Everything that a change must pass
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint types sanity
	$(parts) unit real

test-unit: setup ## The tests that need no root
	$(parts) unit

test-real: setup ## The tests in labs, on rigs and on machines that boot
	$(parts) real

test-full: setup ## The longer forms of the tests: all, or one part (PART=vm); docs/testing.md lists them
	$(parts) full $(PART)

mutants: setup ## Put small faults into a copy of the code and see that the unit tests notice
	.venv/bin/python tools/mutants.py run $(MUTANTS_ARGS)

test-times: setup ## Run each part of make test alone and write down where its minutes go
	.venv/bin/python tools/test_times.py

lint: setup ## Style of Python, YAML and shell
	.venv/bin/ruff check .
	tools/collection.sh .venv/bin/ansible-lint --offline --profile production

types: setup ## Type hints
	MYPYPATH=.venv/collections:roles/lab/files .venv/bin/mypy -p ansible_collections.lowlatency.ec2.plugins -p local_region

sanity: setup ## ansible-test's sanity tests
	tools/sanity.sh

bench: setup ## Measure the lab, the probe and the search against their limits; tables with ratios and medians
	@tools/setup.sh vm
	@tools/bench.sh delay_line probe time_wait verdicts reap rounds search_modes tuning

bench-full: setup ## The same, and the longer forms: more samples, more seeds, more cases
	@tools/setup.sh vm
	@tools/bench.sh delay_line probe time_wait verdicts reap rounds search_modes tuning \
		'search_modes --seeds 1 2 3 4 5 --samples 10000' truth gate

chaos: setup ## Kill real searches at their API calls and writes, in a lab, and print what became of each (PYTEST_ARGS='--every 5')
	.venv/bin/python -m pytest tests/chaos -s $(PYTEST_ARGS)

clean: lab-down ## Take the lab down and remove what make setup made
	rm -rf .venv .bounds
