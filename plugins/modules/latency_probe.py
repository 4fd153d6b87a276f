#!/usr/bin/python
# Copyright (c) 2026, lowlatency.ec2 contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: latency_probe
short_description: Measure TCP handshakes to every address of some endpoints
version_added: 0.1.0
author: lowlatency.ec2 contributors (@lowlatency)
description:
  - Measures, from the host that it runs on, how long a TCP handshake takes with each address of each endpoint.
  - Every handshake has two times. Its wall time is what C(connect) takes in user space, with the wake-up of the
    process and the interpreter. Its wire time is the kernel's own round-trip time from C(TCP_INFO), which neither
    of them can inflate.
  - An address is warmed up first and then measured in shuffled blocks together with all others, so that a drift in time
    touches all addresses alike.
  - In adaptive mode, the default, an address is measured until a sequential test has decided whether its median is
    above or below O(median_limit_us), and until it is clear that it can beat neither O(best_limit_us) nor the champion.
    The few best addresses get the full number of O(samples). RV(endpoints[].addresses[].ended) says how each ended.
  - Handshakes are bounded in rate, in all and per address, with gaps that are drawn at random. A connection is
    closed with a reset at once, and but for O(verify_tls) no byte of data is ever sent.
  - An address that fails its first three handshakes, or twenty in a row later, is dropped. Meanwhile it is tried less
    and less often. That it could not be measured is a result and not a failure of the module.
attributes:
  check_mode:
    description: Can run in C(check_mode) and return what it would do. It then resolves hosts, but makes no handshake.
    support: full
  diff_mode:
    description: Would return details on what has changed. This module changes nothing.
    support: none
options:
  endpoints:
    description: What to measure, at least one endpoint.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: A name for the endpoint, which no other endpoint has.
        type: str
        required: true
      host:
        description: Host name, or IPv4 address, of the endpoint.
        type: str
        required: true
      port:
        description: TCP port of the endpoint.
        type: int
        default: 443
      addresses:
        description:
          - IPv4 addresses to measure.
          - When it is empty, every IPv4 address that O(endpoints[].host) resolves to is measured.
        type: list
        elements: str
        default: []
  samples:
    description:
      - Completed handshakes to measure per address, in adaptive mode per address that is measured in full.
      - A failed handshake is tried again, up to a tenth more tries than samples.
    type: int
    default: 10000
  warmup:
    description:
      - Handshakes to make before measuring, spread over all addresses, but at least three per address.
      - V(0) makes none.
    type: int
    default: 100
  probe_mode:
    description:
      - How samples are spread.
      - V(adaptive) measures each address only until it is decided, and the O(full_addresses) best ones in full.
      - V(exhaustive) takes O(samples) of every address.
    type: str
    choices: [adaptive, exhaustive]
    default: adaptive
  metric:
    description: The time that adaptive mode decides by. Both are always measured.
    type: str
    choices: [wall, wire]
    default: wall
  median_limit_us:
    description:
      - Median, in microseconds, that an address must not exceed. Adaptive mode decides for each whether it does.
      - Without it nothing is asked about the median. A limit that no address can meet is found to be exceeded by all.
    type: float
  best_limit_us:
    description:
      - Time, in microseconds, that O(best_min_hits) handshakes of an address must not exceed.
      - Without it nothing is asked about single handshakes.
    type: float
  best_min_hits:
    description: How many handshakes must be at or below O(best_limit_us).
    type: int
    default: 1
  primary_endpoint:
    description:
      - Name of the endpoint whose addresses compete with the champion.
      - Without it no address does.
    type: str
  champion_us:
    description:
      - What an address of O(primary_endpoint) must beat, in microseconds of O(metric).
      - Without it there is no champion yet, and the best addresses of O(primary_endpoint) are always measured in full.
    type: float
  champion_statistic:
    description: The figure that O(champion_us) is, the lowest handshake or the quantile of 0.1 %.
    type: str
    choices: [best, p0_1]
    default: best
  error_rate:
    description: Chance, at most, of finding a median above its limit when it is below, and the other way round.
    type: float
    default: 0.001
  indifference:
    description:
      - How far adaptive mode tells addresses apart, as a share of handshakes, above 0 and below 0.5.
      - An address passes when at least half of its handshakes are at or below O(median_limit_us), and fails when at
        most half less this share are. In between, either answer is right.
    type: float
    default: 0.1
  full_addresses:
    description: How many of the best addresses adaptive mode measures in full.
    type: int
    default: 3
  timeout_ms:
    description:
      - Milliseconds after which a handshake is given up, from 1 to 60000.
      - The kernel sends a lost SYN again after a second, so only with more than V(1000) can a handshake be counted
        as V(retransmitted) and not as V(timeout).
    type: int
    default: 100
  max_rate:
    description: Mean number of handshakes per second with all addresses together that is not exceeded.
    type: int
    default: 4000
  max_rate_per_address:
    description: Mean number of handshakes per second with any one address that is not exceeded.
    type: int
    default: 200
  connect:
    description:
      - How the end of a handshake is waited for.
      - V(blocking) sleeps in C(connect), which published limits were measured with.
      - V(spin) asks again and again without sleeping, so that no wake-up is in the wall time. It keeps a CPU busy while
        a handshake is under way, and its wall times are compared only with those of the same kind.
    type: str
    choices: [blocking, spin]
    default: blocking
  source_ports:
    description:
      - How many source ports to measure from in turn, up to 64. Networks choose one of several ways by the ports of a
        connection, so a few ports that are measured many times show whether the way matters, see
        RV(endpoints[].addresses[].ports).
      - With V(0) the kernel chooses another port for each handshake, so that no connection's ports are used again at
        once. Some load balancers do not answer when that is done.
    type: int
    default: 0
  realtime:
    description:
      - Whether to measure under the scheduling policy C(SCHED_FIFO), ahead of all ordinary processes.
      - It needs root or C(CAP_SYS_NICE), and a limit of C(RTPRIO) otherwise. Without that, the module fails.
    type: bool
    default: false
  cpu:
    description:
      - CPU to stay on while measuring.
      - V(auto) is the highest-numbered CPU that the process is spread over, because CPU 0 takes most interrupts. On a
        host with CPU 0 alone it is the same as V(any).
      - V(any) leaves it to the scheduler. Several probes on one host need it, or a CPU each.
      - A number is that CPU. It may be an isolated one, which no process is spread over by itself.
    type: str
    default: auto
  quiet_timeout_s:
    description:
      - Seconds, up to 3600, to wait for a quiet host before measuring, that is for the end of C(cloud-init) and for
        three seconds in which no CPU is busier than O(quiet_load).
      - The host is measured after that time all the same, and RV(quiet) says what it was like.
      - V(0) does not wait.
    type: int
    default: 0
  quiet_load:
    description: Share of the time, up to 1, that the busiest CPU may be busy on a quiet host.
    type: float
    default: 0.1
  verify_tls:
    description:
      - Whether to make one TLS handshake, with the host's name, with each address that was measured.
      - An address that accepts connections need not be a service. What is found is a result and not a failure.
    type: bool
    default: false
  block_size:
    description: Handshakes per address in each shuffled block.
    type: int
    default: 10
  resolve_attempts:
    description:
      - How often to ask for the addresses of a host at most.
      - Asking ends sooner, once three answers in a row bring no new address.
    type: int
    default: 30
  progress_path:
    description:
      - File that is replaced about twice a second with a JSON document on how far the probe is.
      - The document has the keys C(stage) (V(resolve), V(quiet), V(warmup), V(measure), V(tls) or V(done)),
        C(handshakes_done), C(handshakes_total), C(addresses), C(addresses_dropped), C(addresses_decided), C(elapsed_s)
        and C(best), a list with the best handshake so far of each endpoint (C(name), C(address), C(wall_us),
        C(samples)).
      - C(handshakes_total) is what is needed at most. It shrinks whenever an address is decided or dropped.
      - The file is not removed. It is not written in check mode.
    type: path
notes:
  - The host needs Linux and Python 3.9 or later, nothing else, and no privilege.
"""

EXAMPLES = r"""
- name: Measure every address of an endpoint
  lowlatency.ec2.latency_probe:
    endpoints:
      - name: fstream-mm
        host: fstream-mm.binance.com
  register: probe

- name: Show the address with the lowest median
  ansible.builtin.debug:
    var: probe.endpoints[0].best_median

- name: See whether any address has a median of 122 µs or a handshake of 102 µs
  lowlatency.ec2.latency_probe:
    endpoints:
      - name: fstream-mm
        host: fstream-mm.binance.com
      - name: fapi-mm
        host: fapi-mm.binance.com
    median_limit_us: 122
    best_limit_us: 102
    best_min_hits: 5

- name: Take every sample of two addresses, on a CPU of its own
  lowlatency.ec2.latency_probe:
    endpoints:
      - name: mine
        host: gateway.example.com
        port: 8443
        addresses:
          - 192.0.2.10
          - 192.0.2.11
    samples: 500
    probe_mode: exhaustive
    cpu: 1
"""

RETURN = r"""
endpoints:
  description: What was measured, one entry per endpoint, in the order of O(endpoints).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the endpoint.
      returned: success
      type: str
      sample: fstream-mm
    host:
      description: Host of the endpoint.
      returned: success
      type: str
      sample: fstream-mm.binance.com
    port:
      description: TCP port of the endpoint.
      returned: success
      type: int
      sample: 443
    resolve_error:
      description:
        - Last error of the resolver, V(null) when there was none.
        - There can be addresses all the same, when another attempt had an answer.
      returned: success
      type: dict
      contains:
        code:
          description: Name of the error code of C(getaddrinfo).
          returned: success
          type: str
          sample: EAI_NONAME
        message:
          description: What the resolver said.
          returned: success
          type: str
          sample: Name or service not known
    refused_answers:
      description:
        - Answers of DNS that are not measured, because no venue can be there.
        - Addresses in O(endpoints[].addresses) are always measured, and so is what C(localhost) resolves to.
      returned: success
      type: list
      elements: dict
      contains:
        address:
          description: The IPv4 address.
          returned: success
          type: str
          sample: 127.0.0.1
        reason:
          description: >-
            One of V(unspecified), V(loopback), V(multicast), V(link_local), V(reserved), and V(own) for an address of
            the host that measures. Private addresses are measured.
          returned: success
          type: str
          sample: loopback
    addresses:
      description: What was measured, one entry per address. Empty when the host could not be resolved.
      returned: success
      type: list
      elements: dict
      contains:
        address:
          description: The IPv4 address.
          returned: success
          type: str
          sample: 198.19.3.1
        samples:
          description: Handshakes that completed and were measured, without retransmitted ones and without the warm-up.
          returned: success
          type: int
          sample: 10000
        ended:
          description: How measuring the address ended, V(null) in check mode.
          returned: success
          type: dict
          contains:
            how:
              description:
                - V(full), it has all its O(samples). Only such addresses are compared with each other.
                - V(above), it meets no limit, as far as the error rate goes.
                - V(below), its median is below O(median_limit_us), and another address with full samples meets a limit.
                - V(beaten), it could only be of interest as a champion, and can't beat O(champion_us).
                - V(undecided), it was measured as far as it was needed, or too many handshakes failed.
                - V(dropped), it does not answer.
              returned: success
              type: str
              sample: above
            by:
              description: >-
                What decided, one of V(median), V(best) and V(champion), else V(count) or V(errors).
              returned: success
              type: str
              sample: median
            samples:
              description: After how many samples.
              returned: success
              type: int
              sample: 60
            log_likelihood_ratio:
              description: >-
                How much likelier the samples are if the address passes than if it fails, as a natural logarithm.
                V(null) when no test was made.
              returned: success
              type: float
              sample: -8.04
        errors:
          description: Handshakes that failed, by kind, those of the warm-up included.
          returned: success
          type: dict
          contains:
            timeout:
              description: Not answered within O(timeout_ms).
              returned: success
              type: int
            refused:
              description: Answered with a reset (C(ECONNREFUSED)).
              returned: success
              type: int
            reset:
              description: Ended with C(ECONNRESET).
              returned: success
              type: int
            unreachable:
              description: No way to the host or its network.
              returned: success
              type: int
            other:
              description: Any other error, see RV(endpoints[].addresses[].other_codes).
              returned: success
              type: int
            retransmitted:
              description: Completed, but only after a SYN was sent again.
              returned: success
              type: int
        other_codes:
          description: How often each error that counts as C(other) occurred, by the name of its code.
          returned: success
          type: dict
          sample: {"EADDRNOTAVAIL": 2}
        dropped:
          description: Whether measuring the address was given up.
          returned: success
          type: bool
        wall:
          description: Summary of the wall times in microseconds, V(null) when no handshake completed.
          returned: success
          type: dict
          contains: &summary
            best_us:
              description: Lowest.
              returned: success
              type: float
              sample: 98.1
            p0_1_us:
              description: Quantile of 0.1 %. All quantiles are interpolated linearly (definition 7 of Hyndman and Fan).
              returned: success
              type: float
              sample: 99.0
            median_us:
              description: Median.
              returned: success
              type: float
              sample: 118.2
            median_low_us:
              description:
                - Lower bound of the median, with 95 % confidence by order statistics.
                - With fewer than 6 samples it is the lowest sample and the confidence is less.
              returned: success
              type: float
              sample: 117.9
            median_high_us:
              description: Upper bound of the median, in the same way.
              returned: success
              type: float
              sample: 118.6
            p99_us:
              description: Quantile of 99 %.
              returned: success
              type: float
              sample: 160.3
            p99_9_us:
              description: Quantile of 99.9 %.
              returned: success
              type: float
              sample: 240.8
        wire:
          description: Summary of the wire times in microseconds, V(null) when no handshake completed.
          returned: success
          type: dict
          contains: *summary
        histogram:
          description: How the samples are distributed, enough to plot.
          returned: success
          type: dict
          contains:
            wall:
              description: Distribution of the wall times.
              returned: success
              type: dict
              contains: &histogram
                edge_us:
                  description:
                    - Lower edges, in microseconds, of the bins that hold a sample.
                    - Bins are 1 µs wide below 64 µs, 2 µs from there to 128 µs, 4 µs to 256 µs, and so on.
                  returned: success
                  type: list
                  elements: int
                count:
                  description: Samples in each bin.
                  returned: success
                  type: list
                  elements: int
            wire:
              description: Distribution of the wire times.
              returned: success
              type: dict
              contains: *histogram
        ports:
          description:
            - Samples by source port. With O(source_ports) there is an entry for each port. With ports that the kernel
              chose there is one for each remainder by 16, which says nothing of ways.
          returned: success
          type: list
          elements: dict
          contains:
            bucket:
              description: The port or the remainder.
              returned: success
              type: int
              sample: 40001
            samples:
              description: Samples from there.
              returned: success
              type: int
              sample: 625
            median_us:
              description: Median wall time in microseconds.
              returned: success
              type: float
              sample: 118.3
            wire_us:
              description: Median wire time in microseconds.
              returned: success
              type: float
              sample: 97.0
        port_spread:
          description: >-
            Whether handshakes from some ports took longer, by the test of Kruskal and Wallis on O(metric). V(null)
            unless O(source_ports) gives at least two ports with five samples each.
          returned: success
          type: dict
          contains:
            ports:
              description: Ports that were compared.
              returned: success
              type: int
              sample: 16
            samples:
              description: Samples that were compared.
              returned: success
              type: int
              sample: 10000
            h:
              description: The H of the test.
              returned: success
              type: float
              sample: 41.2
            p_value:
              description: Chance of at least this H if all ports were alike.
              returned: success
              type: float
              sample: 0.0003
            explained:
              description: Share of the variance of ranks that the ports explain, epsilon squared.
              returned: success
              type: float
              sample: 0.0041
            spread_us:
              description: Largest median of a port less the smallest, in microseconds.
              returned: success
              type: float
              sample: 2.1
            beyond_chance:
              description: Whether the chance is below 0.1 %.
              returned: success
              type: bool
        hits:
          description: How many samples met O(best_limit_us), V(null) without that option.
          returned: success
          type: dict
          contains:
            metric:
              description: The time that was held against the limit, O(metric).
              returned: success
              type: str
              sample: wall
            limit_us:
              description: The limit in microseconds.
              returned: success
              type: float
              sample: 102.0
            count:
              description: Samples at or below it, counted one by one.
              returned: success
              type: int
              sample: 7
        tls:
          description: What one TLS handshake came to, V(null) without O(verify_tls) and for an address without samples.
          returned: success
          type: dict
          contains:
            ok:
              description: Whether a TLS service with a valid certificate for the host's name is there.
              returned: success
              type: bool
            protocol:
              description: Version of the protocol, V(null) without a handshake.
              returned: success
              type: str
              sample: TLSv1.3
            cipher:
              description: Cipher by OpenSSL's name, V(null) without a handshake.
              returned: success
              type: str
              sample: TLS_AES_128_GCM_SHA256
            error:
              description: >-
                Name of what went wrong, V(null) when nothing did. An errno such as V(ETIMEDOUT), V(EOF), OpenSSL's
                reason such as V(CERTIFICATE_VERIFY_FAILED), or V(NO_TRUST_STORE) for a host without certificates to
                verify by, or V(NOT_A_NAME) for a host's name that TLS can't ask for.
              returned: success
              type: str
              sample: CERTIFICATE_VERIFY_FAILED
            verify_code:
              description: OpenSSL's code of why the certificate is not valid.
              returned: success
              type: int
              sample: 10
            verify_message:
              description: The same in words.
              returned: success
              type: str
              sample: certificate has expired
            duration_ms:
              description: Milliseconds that it took, V(null) when the address was not asked.
              returned: success
              type: float
              sample: 3.4
    best_median:
      description:
        - Address with the lowest median wall time, V(null) when no address was measured.
        - Only addresses with full samples are compared, or all that were measured where there is none.
      returned: success
      type: dict
      contains: &winner
        address:
          description: The IPv4 address.
          returned: success
          type: str
          sample: 198.19.3.1
        wall_us:
          description: Its figure of the wall times in microseconds.
          returned: success
          type: float
          sample: 118.2
        wire_us:
          description: The same figure of its wire times in microseconds.
          returned: success
          type: float
          sample: 97.0
        samples:
          description: Samples behind the figure.
          returned: success
          type: int
          sample: 10000
    best:
      description: Address with the lowest single wall time, in the same way. It depends on the number of samples.
      returned: success
      type: dict
      contains: *winner
handshakes:
  description: Handshakes that were measured or failed. Warm-up handshakes that went well are not counted.
  returned: success
  type: int
  sample: 31340
handshakes_planned:
  description: Samples that all addresses together should have, in adaptive mode that they have at most.
  returned: success
  type: int
  sample: 240000
duration_s:
  description: Seconds that it took in all.
  returned: success
  type: float
  sample: 61.2
quiet:
  description: How quiet the host was before measuring, V(null) in check mode.
  returned: success
  type: dict
  contains:
    waited_s:
      description: Seconds that were waited.
      returned: success
      type: float
      sample: 4.0
    quiet:
      description: Whether the host came to rest, V(null) when that was not waited for.
      returned: success
      type: bool
    busy_share:
      description: Share of the last second that the busiest CPU was busy, V(null) when that was not waited for.
      returned: success
      type: float
      sample: 0.02
    cloud_init:
      description: State of C(cloud-init), one of V(done), V(running), V(disabled) and V(absent).
      returned: success
      type: str
      sample: done
allowances:
  description:
    - What the drivers of the interfaces towards the addresses say of allowances of the instance (C(ethtool -S)),
      V(null) in check mode.
    - A probe during which one of them moved did not measure the path alone.
  returned: success
  type: dict
  contains:
    before:
      description: Counters before, by name, and connections that may still be tracked. Empty where no driver has any.
      returned: success
      type: dict
      sample: {"pps_allowance_exceeded": 0, "conntrack_allowance_available": 136812}
    after:
      description: The same after.
      returned: success
      type: dict
      sample: {"pps_allowance_exceeded": 0, "conntrack_allowance_available": 136790}
    moved:
      description: Packets that an allowance stopped meanwhile, by counter. Only those that moved.
      returned: success
      type: dict
      sample: {}
    error:
      description: Code of the error when the kernel could not be asked, else V(null).
      returned: success
      type: str
      sample: EPERM
clock_steps:
  description:
    - Whether the time of day was set while the probe ran, V(null) in check mode.
    - Handshakes are timed by another clock, which can't be set.
  returned: success
  type: dict
  contains:
    count:
      description: How often.
      returned: success
      type: int
      sample: 0
    net_us:
      description: By how much in all, in microseconds.
      returned: success
      type: float
      sample: 0.0
    steps:
      description: The first fifty of them.
      returned: success
      type: list
      elements: dict
      contains:
        at_s:
          description: When it was noticed, in seconds from the beginning.
          returned: success
          type: float
          sample: 12.5
        step_us:
          description: By how much, in microseconds, below 0 when it was set back.
          returned: success
          type: float
          sample: -1500000.0
asked:
  description: What was asked of the addresses in adaptive mode, by the names of the options.
  returned: success
  type: dict
  contains:
    metric:
      description: The O(metric).
      returned: success
      type: str
      sample: wall
    median_limit_us:
      description: The O(median_limit_us).
      returned: success
      type: float
      sample: 122.0
    best_limit_us:
      description: The O(best_limit_us).
      returned: success
      type: float
      sample: 102.0
    best_min_hits:
      description: The O(best_min_hits).
      returned: success
      type: int
      sample: 1
    primary_endpoint:
      description: The O(primary_endpoint).
      returned: success
      type: str
      sample: fstream-mm
    champion_us:
      description: The O(champion_us).
      returned: success
      type: float
      sample: 99.4
    champion_statistic:
      description: The O(champion_statistic).
      returned: success
      type: str
      sample: best
    error_rate:
      description: The O(error_rate).
      returned: success
      type: float
      sample: 0.001
    indifference:
      description: The O(indifference).
      returned: success
      type: float
      sample: 0.1
    full_addresses:
      description: The O(full_addresses).
      returned: success
      type: int
      sample: 3
method:
  description: How the figures were made. Figures are comparable only where these agree.
  returned: success
  type: dict
  contains:
    mode:
      description: The O(probe_mode).
      returned: success
      type: str
      sample: adaptive
    metric:
      description: The O(metric), V(null) in exhaustive mode, as the next three.
      returned: success
      type: str
      sample: wall
    error_rate:
      description: The O(error_rate).
      returned: success
      type: float
      sample: 0.001
    indifference:
      description: The O(indifference).
      returned: success
      type: float
      sample: 0.1
    full_addresses:
      description: The O(full_addresses).
      returned: success
      type: int
      sample: 3
    connect:
      description: The O(connect).
      returned: success
      type: str
      sample: blocking
    source_ports:
      description: The O(source_ports).
      returned: success
      type: int
      sample: 0
    realtime:
      description: The O(realtime).
      returned: success
      type: bool
      sample: false
    samples:
      description: The O(samples).
      returned: success
      type: int
      sample: 10000
    warmup:
      description: The O(warmup).
      returned: success
      type: int
      sample: 100
    timeout_ms:
      description: The O(timeout_ms).
      returned: success
      type: int
      sample: 100
    max_rate:
      description: The O(max_rate).
      returned: success
      type: int
      sample: 4000
    max_rate_per_address:
      description: The O(max_rate_per_address).
      returned: success
      type: int
      sample: 200
    block_size:
      description: The O(block_size).
      returned: success
      type: int
      sample: 10
    cpu:
      description: The CPU that was measured on, V(null) when that was left to the scheduler.
      returned: success
      type: int
      sample: 1
    python:
      description: Version of Python.
      returned: success
      type: str
      sample: 3.11.2
    kernel:
      description: Release of the kernel.
      returned: success
      type: str
      sample: 6.1.0
    machine:
      description: Architecture of the host.
      returned: success
      type: str
      sample: aarch64
cpu_allowed:
  description: CPUs that the process may use.
  returned: success
  type: list
  elements: int
  sample: [0, 1]
client_address:
  description: Source address towards the first address, V(null) when there is no route or no address.
  returned: success
  type: str
  sample: 198.18.0.17
msg:
  description: What was measured, or in check mode what would be, in a line.
  returned: success
  type: str
  sample: Measured 31340 handshakes with 24 addresses (3 full, 21 above) of 3 endpoints.
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.options import ARGUMENT_SPEC
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.plan import BadOption, plan_from
from ansible_collections.lowlatency.ec2.plugins.module_utils._probe.run import may_use, run_probe


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        plan = plan_from(module.params, sorted(os.sched_getaffinity(0)), may_use)
        result = run_probe(plan, dry=module.check_mode)
    except BadOption as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"The probe can't go on: {error}", errno=error.errno)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
