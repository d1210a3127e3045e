// What an optimizer keeps from step to step, and what it has decided for this one. `control` writes it, update rules
// read it.
struct State {
    // Kept: the scale of the loss, the clean steps since it changed, and t, the number of steps that were applied.
    loss_scale: f32, clean: f32, step: f32,
    // Decided: whether parameters change, what gradients are multiplied by, and the learning rate.
    apply: u32, scale: f32, learning_rate: f32,
}
