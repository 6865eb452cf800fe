//! `advect data`: looking into data sets and turning one kind into another.

mod convert;
mod inspect;

use super::Run;
use super::common::Context;

/// Look into demonstrations, or turn them into another kind of file
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  advect data inspect data/pusht.npz
  advect data inspect ~/datasets/my-robot --horizon 32
  advect data convert ~/datasets/my-robot demos.npz

A data set is a numpy archive (obs, action, episode_len), a LeRobot directory (v2.1 or v3.0: a folder with meta/info.json), an HDF5
file of robomimic, Minari or ALOHA, a zarr replay buffer of diffusion policy, a CSV table, or a ROS 2 recording in MCAP. The [data]
table of a configuration says which columns are what; for MCAP: obs = [\"/joint_states.position\"], action = \"/cmd_vel.linear.x\",
fps = 20.0.")]
pub struct Data {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Inspect(inspect::Inspect),
    Convert(convert::Convert),
}

impl Run for Data {
    fn run(self, cx: &Context) -> anyhow::Result<()> {
        match self.what {
            What::Inspect(args) => args.run(cx),
            What::Convert(args) => args.run(cx),
        }
    }
}
