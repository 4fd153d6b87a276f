# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# ANSIBLE_ARGS goes to every playbook: make search ANSIBLE_ARGS='-e lab_seed=3 -e search_slot_count=1'
ANSIBLE_ARGS ?=
PYTEST_ARGS ?=
LAB ?= inventory/lab

export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PATH := $(PATH):/usr/sbin:/sbin

play = .venv/bin/ansible-playbook -i $(LAB)
# By file, since what a file's tests share is made once.
pytest_unit = .venv/bin/python -m pytest tests/unit -n auto --dist loadfile
# Labs in which nothing is measured are brought up side by side; those that measure have the machine for themselves.
unmeasured = $(addprefix tests/integration/,install network os_tuning policies)
pytest_unmeasured = .venv/bin/python -m pytest $(unmeasured) -n 2 --dist loadfile
pytest_measured = .venv/bin/python -m pytest tests/integration $(addprefix --ignore=,$(unmeasured))

.PHONY: help setup search tune lab-up lab-down lab-status cleanup test test-unit test-integration test-vm test-vm-full lint types sanity bench bench-full chaos clean

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

test: setup lint types sanity ## Everything that must pass
	$(pytest_unit) $(PYTEST_ARGS)
	$(pytest_unmeasured) -m 'not full' $(PYTEST_ARGS)
	$(pytest_measured) -m 'not full' $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory test-vm

test-unit: setup ## The tests that need no root
	$(pytest_unit) $(PYTEST_ARGS)

test-integration: setup ## The tests that bring labs up, with their longer forms
	$(pytest_unmeasured) $(PYTEST_ARGS)
	$(pytest_measured) $(PYTEST_ARGS)

test-vm: ## The tests on a Linux that really boots, in QEMU
	@tools/setup.sh vm
	.venv/bin/python -m pytest tests/vm -m 'not full' --durations=0 --durations-min=5 $(PYTEST_ARGS)

test-vm-full: ## The same with their longer forms
	@tools/setup.sh vm
	.venv/bin/python -m pytest tests/vm --durations=0 --durations-min=5 $(PYTEST_ARGS)

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
	rm -rf .venv
