// The chain that the tests run under hardhat: WAVE's chain id, the usual development accounts, nothing to compile.
const scratch = process.env.WAVE_TEST_SCRATCH;

export default {
  paths: { artifacts: `${scratch}/artifacts`, cache: `${scratch}/cache` },
  networks: { node: { type: "edr-simulated", chainType: "l1", chainId: 0x57415645 } },
};
